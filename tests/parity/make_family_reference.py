#!/usr/bin/env python3
"""Writes tests/data/families.json: what transformers says about the models of family_models.py.

    python make_family_reference.py OUT.json [NAME...]            (needs torch, transformers, gguf)
    python make_family_reference.py --hidden OUT.json             writes tests/data/family_hidden.json

Each model is written as a bf16 folder and opened by transformers as any folder is, in float32: log-probabilities of all
tokens at some positions of one fixed token sequence; with --hidden the last hidden states, behind the last norm: that of the
last position, and the mean of all, which is what embeddings are made of. Refuses a model whose answers are nearly uniform or certain, and a GGUF
name that the `gguf` package would not give.
"""
import datetime
import json
import pathlib
import sys
import tempfile

import gguf
import torch
import transformers

import family_models as fm


def add_adapter(model, name, adapter):
    """w + scale * B A, as PEFT merges one."""
    tensors = fm.adapter_tensors(name, adapter)
    matrix = {key: torch.tensor(t.values(), dtype=torch.float64).reshape(t.shape) for key, t in tensors.items()}
    for module, _, _ in fm.adapter_modules(name, adapter):
        weight = model.get_submodule(module).weight
        prefix = f"base_model.model.{module}.lora_"
        change = matrix[prefix + "B.weight"] @ matrix[prefix + "A.weight"] * fm.adapter_scale(adapter)
        weight.copy_((weight.double() + change).float())


def open_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                             attn_implementation="eager").eval()


@torch.no_grad()
def answer(folder, ids, name, adapter):
    model = open_model(folder)
    if adapter is not None:
        add_adapter(model, name, adapter)
    logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
    return torch.log_softmax(logits, dim=-1)


def check_names(name):
    config, architecture, _ = fm.VARIANTS[name]
    if architecture is None:
        return
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for hf_name in fm.make_tensors(name):
        ours = fm.gguf_name(hf_name, config["model_type"])
        if ours is None or hf_name.endswith("sinks"):
            continue
        theirs = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
        if theirs != ours:
            raise SystemExit(f"{name}: {hf_name} is {theirs} in GGUF, not {ours}")


def run(name, length, context, ids, adapter=None):
    with tempfile.TemporaryDirectory() as temporary:
        folder = fm.write_folder(pathlib.Path(temporary) / name, name)
        logprobs = answer(folder, ids[:length], name, adapter)
    positions = [p for p in fm.POSITIONS if p < length - 1]
    rows = logprobs[positions]
    entropy = -(rows.exp() * rows).sum(-1)
    print(f"{name} {adapter} {length}: entropy {entropy.min():.2f} to {entropy.max():.2f} nats")
    if entropy.min() < 0.05 or entropy.mean() > 4.4:
        raise SystemExit(f"{name}: the model is too sure or knows nothing")
    return {"name": name, "adapter": adapter, "length": length, "context": context, "positions": positions,
            "logprobs": [[round(float(v), 4) for v in row] for row in rows]}


@torch.no_grad()
def run_hidden(name, ids):
    with tempfile.TemporaryDirectory() as temporary:
        model = open_model(fm.write_folder(pathlib.Path(temporary) / name, name)).base_model
        states = model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].double()
    print(f"{name}: hidden states of {states.abs().mean():.2f}")
    return {"name": name, "last": [round(float(v), 5) for v in states[-1]],
            "mean": [round(float(v), 5) for v in states.mean(0)]}


def write(path, items):
    head = {"engine": f"transformers {transformers.__version__}, torch {torch.__version__}, eager attention, float32",
            "date": datetime.date.today().isoformat()}
    lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    text = json.dumps(head, separators=(",", ":"))[:-1]
    pathlib.Path(path).write_text(f'{text},"items":[\n{lines}\n]}}\n', encoding="utf-8")


def main():
    ids = fm.tokens()
    if sys.argv[1] == "--hidden":
        write(sys.argv[2], [run_hidden(name, ids[:-1]) for name in fm.HIDDEN])
        return
    chosen = sys.argv[2:] or list(fm.VARIANTS)
    for name in chosen:
        check_names(name)
    items = [run(name, length, context, ids) for name in chosen for length, context in fm.runs_of(name)]
    items += [run(name, fm.LENGTH, fm.LENGTH, ids, adapter)
              for name in chosen if name in fm.ADAPTED for adapter in fm.ADAPTERS]
    write(sys.argv[1], items)


if __name__ == "__main__":
    main()
