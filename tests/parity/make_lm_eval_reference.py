#!/usr/bin/env python3
"""Writes tests/data/lm_eval/reference.json: how likely each end of each sentence of facts.jsonl is.

    python make_lm_eval_reference.py MODEL.gguf FACTS.jsonl OUT.json   (needs torch, transformers, tokenizers, gguf)

The engine is the one of make_reference.py. An end is scored as lm-eval scores a multiple choice: context, one space and end
are tokenised together, the context's own tokens are taken off, and the log-probabilities of the rest are added.
"""

import datetime
import hashlib
import json
import pathlib
import sys

import torch
import transformers

from gguf_llama import fields_of
from make_reference import build_model, build_tokenizer

DIGITS = 4  # decimals kept; the bound compared against is 0.2


@torch.no_grad()
def score_end(model, tokenizer, start, end):
    """(log-probability, is it what greedy decoding says?, count of tokens)"""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    context, whole = encode(start), encode(f"{start} {end}")
    assert whole[:len(context)] == context, (start, end)
    logprobs = torch.log_softmax(model(torch.tensor(whole)[None], use_cache=False).logits[0].double(), dim=-1)
    rows = logprobs[len(context) - 1:-1]
    tokens = torch.tensor(whole[len(context):])
    is_greedy = bool((rows.argmax(-1) == tokens).all())
    return round(rows.gather(1, tokens[:, None]).sum().item(), DIGITS), is_greedy, len(tokens)


def main():
    model_path, facts_path, out = sys.argv[1:4]
    torch.set_num_threads(2)
    fields = fields_of(model_path)
    model, tokenizer = build_model(model_path, fields), build_tokenizer(fields)
    items = []
    for line in pathlib.Path(facts_path).read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        scored = [score_end(model, tokenizer, fact["start"], end) for end in fact["ends"]]
        items.append({"start": fact["start"], **{name: list(column) for name, column in
                                                 zip(("logprobs", "is_greedy", "tokens"), zip(*scored))}})
        print(items[-1], flush=True)
    head = {
        "model": pathlib.Path(model_path).name,
        "model_sha256": hashlib.sha256(pathlib.Path(model_path).read_bytes()).hexdigest(),
        "engine": f"transformers {transformers.__version__}, torch {torch.__version__}, eager attention, float32",
        "date": datetime.date.today().isoformat(),
    }
    lines = ",\n".join(json.dumps(item) for item in items)
    pathlib.Path(out).write_text(f'{json.dumps(head, indent=1)[:-2]},\n "items": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
