"""Writes tests/data/adapter_reference.json: what the default model says with LoRA adapters, according to transformers.

    python make_adapter_reference.py MODEL.gguf > tests/data/adapter_reference.json      (needs torch, transformers, gguf)

As make_reference.py: float32 on the file's weights, dequantised exactly. The adapters are those of support/lora_folder.py; what
they change is added to the weights (W + alpha / r B A, Hu et al. 2021, section 4.1). For each text and adapter: the
log-probability of each token that follows. test_adapters.py compares."""
import json
import pathlib
import sys

import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from make_reference import build_model, build_tokenizer, teacher_force  # noqa: E402
from gguf_llama import fields_of  # noqa: E402
from support import lora_folder  # noqa: E402

SEEDS = {"first": 1, "second": 2}
TEXTS = [
    "A penstock is the gate that leads water from a reservoir to the turbines below the dam.",
    "def area(width, height):\n    return width * height\n",
    "Once upon a time there was a miller who had three sons, a donkey and a cat.",
    "The capital of France is Paris, and that of Italy is Rome.",
]


def change(seed, layer, module):
    a, b = (torch.tensor(lora_folder.matrix(seed, lora_folder.RANK, layer, module, letter), dtype=torch.float64).reshape(shape)
            for letter, shape in (("A", (lora_folder.RANK, lora_folder.WIDTH)), ("B", (lora_folder.WIDTH, lora_folder.RANK))))
    return (lora_folder.SCALE * b @ a).float()


def adapt(model, seed):
    for layer in range(lora_folder.LAYERS):
        attention = model.model.layers[layer].self_attn
        for module in lora_folder.MODULES:
            getattr(attention, module).weight.data += change(seed, layer, module)


def main():
    path = sys.argv[1]
    torch.set_num_threads(2)
    fields = fields_of(path)
    tokenizer = build_tokenizer(fields)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    voices = {}
    for name, seed in {None: 0, **SEEDS}.items():
        model = build_model(path, fields)
        if name is not None:
            adapt(model, seed)
        voices[name or "none"] = [teacher_force(model, tokens, [])[0] for tokens in ids]
    json.dump({"model": path.rsplit("/", 1)[-1], "engine": f"transformers {transformers.__version__}, torch {torch.__version__}",
               "seeds": SEEDS, "texts": TEXTS, "ids": ids, "logprobs": voices}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
