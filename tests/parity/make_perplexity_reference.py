#!/usr/bin/env python3
"""Writes tests/data/perplexity_reference.json: how surprised the model is by each token of perplexity_text.txt.

    python make_perplexity_reference.py MODEL.gguf TEXT OUT.json   (needs torch, transformers, tokenizers, gguf)

The engine is the one of make_reference.py: transformers in float32 on the file's weights, dequantised exactly, and token ids
from the `tokenizers` library. The text's tokens are cut into windows that know nothing of each other; in each, every token
but the first is scored: its negative natural log-probability after those before it. See perplexity_test.c.
"""

import datetime
import hashlib
import json
import math
import sys

import tokenizers
import torch
import transformers

from gguf_llama import fields_of
from make_reference import build_model, build_tokenizer

WINDOW = 1024  # tokens
WINDOWS = 24
DIGITS = 4  # decimals kept; rounding is 20 times below the tightest bound, a median of 1e-3


@torch.no_grad()
def score_window(model, ids):
    logprobs = torch.log_softmax(model(ids[None], use_cache=False).logits[0, :-1].double(), dim=-1)
    return (-logprobs.gather(1, ids[1:, None])[:, 0]).tolist()


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def write_compact(path, document, windows):
    """One line a window."""
    head = json.dumps(document, indent=1)[:-2]
    lines = ",\n".join(json.dumps(window, separators=(",", ":")) for window in windows)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(f'{head},\n "windows": [\n{lines}\n]}}\n')


def main():
    model_path, text_path, out = sys.argv[1:4]
    torch.set_num_threads(2)
    fields = fields_of(model_path)
    with open(text_path, encoding="utf-8", newline="") as file:
        ids = build_tokenizer(fields).encode(file.read(), add_special_tokens=False).ids
    if len(ids) < WINDOW * WINDOWS:
        raise SystemExit(f"{text_path} has {len(ids)} tokens, {WINDOW * WINDOWS} are needed")
    model = build_model(model_path, fields)
    windows, total = [], 0.0
    for start in range(0, WINDOW * WINDOWS, WINDOW):
        part = ids[start:start + WINDOW]
        nll = score_window(model, torch.tensor(part))
        total += sum(nll)
        windows.append({"ids": part, "nll": [round(value, DIGITS) for value in nll]})
        print(f"window {len(windows)}: perplexity {math.exp(sum(nll) / len(nll)):.3f}", flush=True)
    count = WINDOWS * (WINDOW - 1)
    write_compact(out, {
        "model": model_path.rsplit("/", 1)[-1], "model_sha256": digest_of(model_path),
        "text": text_path.rsplit("/", 1)[-1], "text_sha256": digest_of(text_path),
        "engine": f"transformers {transformers.__version__}, torch {torch.__version__}, eager attention",
        "tokenizer": f"tokenizers {tokenizers.__version__}, GPT-2 pattern after single digits",
        "dtype": "float32 weights (dequantised exactly) and activations, float64 log-softmax",
        "date": datetime.date.today().isoformat(),
        "window": WINDOW, "scored": count, "perplexity": round(math.exp(total / count), 5),
    }, windows)


if __name__ == "__main__":
    main()
