#!/usr/bin/env python3
"""Writes tests/fuzz/seeds/fuzz_gguf/: small GGUF files of every kind of value and tensor, and a few broken ones.

    python make_gguf_seeds.py        (needs nothing but Python)
"""

import pathlib
import struct

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
# GGUF number: (elements, bytes) of a block.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144),
          13: (256, 176), 14: (256, 210), 30: (1, 2)}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def file_of(keys, tensors=(), alignment=32, version=3):
    """`tensors`: (name, type, dimensions)."""
    table, data = b"", b""
    for name, kind, dimensions in tensors:
        data += b"\0" * (-len(data) % alignment)
        table += text(name) + struct.pack("<I", len(dimensions)) + struct.pack(f"<{len(dimensions)}Q", *dimensions)
        table += struct.pack("<IQ", kind, len(data))
        count = 1
        for n in dimensions:
            count *= n
        elements, size = BLOCKS[kind]
        data += bytes((i * 37 + 11) % 251 for i in range(count // elements * size))
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + table
    return head + b"\0" * (-len(head) % alignment) + data


def model_keys():
    number = lambda name, value: key("llama." + name, U32, struct.pack("<I", value))
    return [
        key("general.architecture", STRING, text("llama")), key("general.name", STRING, text("seed")),
        number("block_count", 1), number("context_length", 64), number("embedding_length", 32),
        number("feed_forward_length", 32), number("attention.head_count", 2), number("attention.head_count_kv", 1),
        key("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
        key("llama.rope.scaling.type", STRING, text("yarn")), key("llama.rope.scaling.factor", F32, struct.pack("<f", 4)),
        key("tokenizer.ggml.model", STRING, text("gpt2")), key("tokenizer.ggml.pre", STRING, text("smollm")),
        key("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(t) for t in ("a", "b", "ab", "<|end|>")])),
        key("tokenizer.ggml.token_type", ARRAY, array(I32, [struct.pack("<i", t) for t in (1, 1, 1, 3)])),
        key("tokenizer.ggml.merges", ARRAY, array(STRING, [text("a b")])),
        key("tokenizer.ggml.add_bos_token", BOOL, b"\0"), key("tokenizer.ggml.eos_token_id", U32, struct.pack("<I", 3)),
        key("tokenizer.chat_template", STRING, text("{{ messages }}")),
    ]


def scalar_keys():
    values = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
    keys = [key(f"scalar.{kind}", kind, struct.pack(layout, 7)) for kind, layout in values.items()]
    keys += [key(f"array.{kind}", ARRAY, array(kind, [struct.pack(layout, 5)] * 3)) for kind, layout in values.items()]
    return keys + [key("array.bool", ARRAY, array(BOOL, [b"\0", b"\1"])), key("array.empty", ARRAY, array(F32, []))]


def main():
    folder = pathlib.Path(__file__).parent / "seeds" / "fuzz_gguf"
    folder.mkdir(parents=True, exist_ok=True)
    model_tensors = [("token_embd.weight", 8, (32, 4)), ("output_norm.weight", 0, (32,))]
    every_type = [(f"type.{kind}", kind, (BLOCKS[kind][0], 2)) for kind in BLOCKS]
    model = file_of(model_keys(), model_tensors)
    seeds = {
        "empty_header": file_of([]),
        "model": model,
        "scalars": file_of(scalar_keys()),
        "tensor_types": file_of([], every_type),
        "alignment_64": file_of([key("general.alignment", U32, struct.pack("<I", 64))], every_type[:3], alignment=64),
        "version_2": file_of([], version=2),
        "cut": model[: len(model) // 2],
        "count_2_63": b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1 << 63),
        "twice": file_of([key("k", U64, struct.pack("<Q", 1))] * 2),
    }
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
