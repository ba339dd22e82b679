"""Between GGUF files of the llama architecture and transformers' Llama classes, in float32 and without loss.

GGUF stores the rows of Q and K so that the two halves of a rotated pair are neighbours (2i, 2i + 1); transformers rotates
(i, i + d_head / 2). `unpermute` and `permute` turn one order into the other, as llama.cpp's convert_hf_to_gguf.py does.
"""

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

LAYER_NAMES = [
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_output.bias", "self_attn.o_proj.bias"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
]
TOP_NAMES = [("token_embd.weight", "model.embed_tokens.weight"), ("output_norm.weight", "model.norm.weight"),
             ("output.weight", "lm_head.weight")]


def permute(rows, n_heads):
    """Row order of transformers -> row order of GGUF."""
    return rows.reshape(n_heads, 2, rows.shape[0] // n_heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows, n_heads):
    """Row order of GGUF -> row order of transformers."""
    return rows.reshape(n_heads, rows.shape[0] // n_heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def tensor_names(n_layers):
    yield from TOP_NAMES
    for layer in range(n_layers):
        for gguf_name, hf_name in LAYER_NAMES:
            yield f"blk.{layer}.{gguf_name}", f"model.layers.{layer}.{hf_name}"


def load_state(path, n_layers, n_heads, n_kv_heads, is_permuted=True):
    """The file's tensors as float32 under transformers' names."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    state = {}
    for gguf_name, hf_name in tensor_names(n_layers):
        if gguf_name not in tensors:
            continue
        tensor = tensors[gguf_name]
        rows = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        rows = rows.reshape([int(n) for n in reversed(tensor.shape)])
        if is_permuted and ".attn_q." in gguf_name:
            rows = unpermute(rows, n_heads)
        if is_permuted and ".attn_k." in gguf_name:
            rows = unpermute(rows, n_kv_heads)
        state[hf_name] = torch.from_numpy(np.ascontiguousarray(rows))
    return state


def fields_of(path):
    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


def load_checked(model, state):
    """Loads `state`; only a tied head may be missing."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if name != "lm_head.weight"]:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model.eval()
