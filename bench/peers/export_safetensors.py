#!/usr/bin/env python3
"""Writes a GGUF's weights, dequantised to bfloat16, as a safetensors folder for servers that read no such GGUF.

usage: export_safetensors.py MODEL.gguf FOLDER     (with torch, transformers and gguf installed)

The values are the file's own: each quantised weight becomes the bfloat16 nearest to what it stands for.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def restore_digit_rule(folder):
    """The GGUF loader drops the rule of pre-tokenizer `smollm` that each digit stands alone."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    digits = {"type": "Digits", "individual_digits": True}
    rule = tokenizer["pre_tokenizer"]
    steps = rule["pretokenizers"] if rule["type"] == "Sequence" else [rule]
    if digits not in steps:
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, *steps]}
        path.write_text(json.dumps(tokenizer, ensure_ascii=False))


def main():
    source, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16,
                                                 quantization_config=GgufConfig(dequantize=True))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    restore_digit_rule(folder)


if __name__ == "__main__":
    main()
