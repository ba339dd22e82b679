#!/usr/bin/env python3
"""How wide may the groups be in which the inputs of products share a scale? A study without kernels.

    python bench/accuracy/activation_groups.py MODEL.gguf [--windows N] [SETTING ...]   (torch, transformers, tokenizers, gguf)

transformers in float32 on the file's weights, dequantised exactly, with the input of matrix products rounded to int8 in
groups of so many columns (symmetric, the largest value at 127), everything else left alone. Text and exact values are those
of tests/data/perplexity_reference.json. A SETTING is a list of "product=columns", where product is q, k, v, o, gate, up,
down, head or all, and columns 0 means the whole row; a later entry overrules an earlier one: "all=64,head=32".
"""

import argparse
import json
import math
import pathlib
import sys

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "parity"))

from gguf_llama import fields_of  # noqa: E402  (the path above)
from make_reference import build_model  # noqa: E402

SETTINGS = ["all=32", "all=64", "all=96", "all=192", "all=0", "all=64,head=32", "all=96,head=32", "all=192,head=32",
            "all=192,down=64,head=32", "down=192", "o=192", "q=192,k=192,v=192", "gate=192,up=192", "head=192", "head=32"]


def round_groups(x, columns):
    """x as int8 codes times a scale a group would hold it."""
    width = x.shape[-1]
    columns = columns or width
    padded = torch.nn.functional.pad(x, (0, -width % columns))
    groups = padded.reshape(-1, columns)
    scale = (groups.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-30)
    return ((groups / scale).round() * scale).reshape(padded.shape)[..., :width]


def round_inputs(model, widths):
    """Hooks every product; `widths` may change between runs."""
    def hook_for(product):
        def hook(_, inputs):
            columns = widths.get(product, widths.get("all"))
            return None if columns is None else (round_groups(inputs[0], columns),)
        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            product = name.rsplit(".", 1)[-1].removesuffix("_proj").removeprefix("lm_")
            module.register_forward_pre_hook(hook_for(product))


@torch.no_grad()
def score(model, ids):
    out = []
    for ids in windows:
        logprobs = torch.log_softmax(model(ids[None], use_cache=False).logits[0, :-1], dim=-1)
        out.append(-logprobs.gather(1, ids[1:, None])[:, 0])
    return torch.cat(out)


def widths_of(setting):
    return {product: int(columns) for product, columns in (entry.split("=") for entry in setting.split(","))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--windows", type=int, default=8, help="of 1024 tokens, spread over the text (default 8)")
    parser.add_argument("settings", nargs="*", default=SETTINGS)
    args = parser.parse_args()
    windows = json.loads((ROOT / "tests/data/perplexity_reference.json").read_text())["windows"]
    chosen = [windows[i * len(windows) // args.windows] for i in range(args.windows)]
    ids = [torch.tensor(window["ids"]) for window in chosen]
    exact = torch.tensor([value for window in chosen for value in window["nll"]])
    model, widths = build_model(args.model, fields_of(args.model)), {}
    round_inputs(model, widths)
    print(f"{len(exact)} tokens, perplexity {math.exp(exact.mean()):.4f} in float32")
    print("| rounded to int8 | perplexity | mean | median | p99 |\n|---|---|---|---|---|", flush=True)
    for setting in args.settings:
        widths.clear()
        widths.update(widths_of(setting))
        nll = score(model, ids)
        d = (nll - exact).abs()
        change = math.expm1(float(nll.mean() - exact.mean()))
        print(f"| {setting} | {100 * change:+.2f} % | {d.mean():.3f} | {d.median():.3f} | {d.quantile(0.99):.2f} |", flush=True)


if __name__ == "__main__":
    main()
