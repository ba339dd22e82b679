#!/usr/bin/env python3
"""Writes tests/data/tiny/*.gguf and tests/data/tiny/reference.json: random models of two layers, one a feature.

    python make_tiny_models.py OUT_FOLDER        (needs torch, transformers, gguf)

Each model is made by transformers from its config class, its matrices rounded to Q8_0 and put back, so that the file and the
reference hold the same numbers. The reference is transformers in float32: log-probabilities of all tokens at some positions
of one fixed token sequence, three times longer than the context that the scaled variants were "trained" with. Weights are
large enough for attention to be peaked; the script refuses a variant whose feature, switched off, would change little.
"""

import datetime
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers
from gguf.quants import dequantize, quantize

from gguf_llama import permute, tensor_names

Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
VOCABULARY, WIDTH, FFN, LAYERS, HEADS, KV_HEADS, HEAD = 64, 32, 32, 2, 4, 2, 32
TRAINED, LENGTH = 32, 96
POSITIONS = [1, 8, 20, 31, 32, 40, 63, 64, 80, 94]
FEATURE_SHIFT_MIN = 1.0  # nats, largest over the stored positions

COMMON = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS,
              num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD, max_position_embeddings=LENGTH,
              rms_norm_eps=1e-5, attn_implementation="eager", dtype=torch.float32, bos_token_id=None,
              eos_token_id=None, pad_token_id=None)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 3.0, "original_max_position_embeddings": TRAINED}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": TRAINED}

# name: architecture, classes, config, what the config is without the feature (None: nothing to switch off)
VARIANTS = {
    "biases_untied": ("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM,
                      dict(rope_parameters=PLAIN, attention_bias=True, tie_word_embeddings=False), None),
    "linear": ("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM,
               dict(rope_parameters=LINEAR, tie_word_embeddings=True), dict(rope_parameters=PLAIN)),
    "yarn": ("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM,
             dict(rope_parameters=YARN, tie_word_embeddings=True), dict(rope_parameters=PLAIN)),
    "llama3": ("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM,
               dict(rope_parameters=LLAMA3, tie_word_embeddings=True), dict(rope_parameters=PLAIN)),
    "window": ("llama", transformers.MistralConfig, transformers.MistralForCausalLM,
               dict(rope_parameters=PLAIN, sliding_window=8, tie_word_embeddings=False), dict(sliding_window=None)),
    "qwen2": ("qwen2", transformers.Qwen2Config, transformers.Qwen2ForCausalLM,
              dict(rope_parameters=PLAIN, tie_word_embeddings=True), None),
    "gemma": ("gemma", transformers.GemmaConfig, transformers.GemmaForCausalLM,
              dict(rope_parameters=PLAIN, tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh"), None),
}


def random_state(model, generator):
    """Norms near one, biases small, matrices so large that scores and logits spread over several nats."""
    state = {}
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("norm.weight"):
            base = 0.0 if "gemma" in type(model).__name__.lower() else 1.0
            state[name] = base + 0.1 * noise
        elif name.endswith(".bias"):
            state[name] = 0.2 * noise
        else:
            gain = 1.8 if ".q_proj" in name or ".k_proj" in name else 1.0
            scale = gain / math.sqrt(value.shape[-1])
            rows = quantize((noise * scale).numpy(), Q8_0)
            state[name] = torch.from_numpy(dequantize(rows, Q8_0).astype(np.float32))
    if model.config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


@torch.no_grad()
def logprobs_of(model_class, config, state, ids):
    model = model_class(config).float().eval()
    model.load_state_dict(state)
    logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
    return torch.log_softmax(logits, dim=-1)[POSITIONS].numpy()


def llama3_divisors(rope):
    """As convert_hf_to_gguf.py writes rope_freqs.weight."""
    out = []
    for i in range(0, HEAD, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / HEAD)
        old = rope["original_max_position_embeddings"]
        if wavelength < old / rope["high_freq_factor"]:
            out.append(1.0)
        elif wavelength > old / rope["low_freq_factor"]:
            out.append(rope["factor"])
        else:
            smooth = (old / wavelength - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def add_keys(writer, config, rope, window):
    writer.add_context_length(LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if window:
        writer.add_sliding_window(window)
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(TRAINED)


def write_model(path, name, architecture, config, overrides, state):
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name(f"tiny {name}")
    rope = overrides["rope_parameters"]
    add_keys(writer, config, rope, overrides.get("sliding_window"))
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope))
    for gguf_name, hf_name in tensor_names(LAYERS):
        if hf_name not in state or (hf_name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        rows = state[hf_name].numpy()
        if architecture == "llama" and ".attn_q." in gguf_name:
            rows = permute(rows, HEADS)
        if architecture == "llama" and ".attn_k." in gguf_name:
            rows = permute(rows, KV_HEADS)
        if architecture == "gemma" and gguf_name.endswith("norm.weight"):
            rows = rows + 1  # the converter puts the one into the file
        if rows.ndim == 2:
            writer.add_tensor(gguf_name, quantize(np.ascontiguousarray(rows), Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(gguf_name, np.ascontiguousarray(rows, dtype=np.float32), raw_dtype=F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_variant(folder, seed, name, ids):
    architecture, config_class, model_class, overrides, without = VARIANTS[name]
    config = config_class(**COMMON, **overrides)
    generator = torch.Generator().manual_seed(seed)
    state = random_state(model_class(config), generator)
    logprobs = logprobs_of(model_class, config, state, ids)
    shift = None
    if without is not None:
        plain = logprobs_of(model_class, config_class(**COMMON, **{**overrides, **without}), state, ids)
        shift = float(np.abs(plain - logprobs).max())
        if shift < FEATURE_SHIFT_MIN:
            raise SystemExit(f"{name}: without the feature the result moves by {shift:.3f} only")
    write_model(folder / f"{name}.gguf", name, architecture, config, overrides, state)
    print(f"{name}: shift {shift}, entropy about {-(np.exp(logprobs) * logprobs).sum(-1).mean():.2f} nats")
    return {"name": name, "logprobs": [[round(float(v), 5) for v in row] for row in logprobs]}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    ids = [int(v) for v in np.random.default_rng(7).integers(0, VOCABULARY, LENGTH)]
    items = [make_variant(folder, 100 + i, name, ids) for i, name in enumerate(VARIANTS)]
    head = {"engine": f"transformers {transformers.__version__}, torch {torch.__version__}, eager attention, float32",
            "date": datetime.date.today().isoformat(), "ids": ids, "positions": POSITIONS}
    lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    text = json.dumps(head, separators=(",", ":"))[:-1]
    (folder / "reference.json").write_text(f'{text},"items":[\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
