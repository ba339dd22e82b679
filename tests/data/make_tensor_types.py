"""Writes tensor_types.txt: blocks of every tensor format and their values, made by the `gguf` Python package.

Usage: make_tensor_types.py > tensor_types.txt   (needs gguf, numpy and torch)
"""

import importlib.metadata

import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import quants

rng = np.random.default_rng(20261121)


def k_block(size, f16_at):
    """Random codes; the f16 scales at the given offsets are sane numbers."""
    blocks = rng.integers(0, 256, size=(2, size), dtype=np.uint8)
    for at in f16_at:
        blocks[:, at : at + 2] = rng.normal(0, 0.01, size=(2, 1)).astype(np.float16).view(np.uint8)
    return blocks


def raw(name):
    if name == "Q4_K":
        return k_block(144, (0, 2))
    if name == "Q5_K":
        return k_block(176, (0, 2))
    if name == "Q6_K":
        return k_block(210, (208,))
    values = rng.normal(0, 0.5, size=(1, 64)).astype(np.float32)
    values[0, :3] = (0.0, -0.0, 1e-7)
    return quants.quantize(values, T[name])


print(f"# Made by make_tensor_types.py, gguf {importlib.metadata.version('gguf')}, 2026-11-21.")
print("# type, blocks (hex bytes), values (hex bits of each f32)")
for name in "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K MXFP4".split():
    data = np.ascontiguousarray(raw(name))
    values = quants.dequantize(data, T[name]).astype(np.float32).reshape(-1)
    print(name, data.view(np.uint8).tobytes().hex(), values.astype(">f4").tobytes().hex())

# Not a format of GGUF: every byte that is a number.
codes = np.array([code for code in range(256) if code & 0x7F != 0x7F], dtype=np.uint8)
values = torch.from_numpy(codes).view(torch.float8_e4m3fn).float()
print("F8_E4M3", codes.tobytes().hex(), values.numpy().astype(">f4").tobytes().hex())
