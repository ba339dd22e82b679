"""Writes a copy of a GGUF file with more metadata (format: ggml's docs/gguf.md)."""
import struct

from support.gguf_vocabulary import ARRAY, SCALARS, STRING

UINT32 = 4
ALIGNMENT = 32


def _skip_value(file, kind):
    def unpack(code):
        return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]

    if kind == STRING:
        file.seek(unpack("Q"), 1)
    elif kind == ARRAY:
        element, count = unpack("I"), unpack("Q")
        if element in SCALARS:
            file.seek(count * struct.calcsize("<" + SCALARS[element]), 1)
        else:
            for _ in range(count):
                _skip_value(file, element)
    else:
        file.seek(struct.calcsize("<" + SCALARS[kind]), 1)


def add_uint32(source, target, values):
    """`values`: {key: number}. Keys that are there already must not be given."""
    with open(source, "rb") as file:
        magic, version, tensor_count, pair_count = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF" and version == 3
        for _ in range(pair_count):
            file.seek(struct.unpack("<Q", file.read(8))[0], 1)
            _skip_value(file, struct.unpack("<I", file.read(4))[0])
        pairs_end = file.tell()
        for _ in range(tensor_count):
            file.seek(struct.unpack("<Q", file.read(8))[0], 1)
            dimensions = struct.unpack("<I", file.read(4))[0]
            file.seek(8 * dimensions + 4 + 8, 1)
        infos_end = file.tell()
        data = -(-infos_end // ALIGNMENT) * ALIGNMENT
        file.seek(24)
        pairs, infos = file.read(pairs_end - 24), file.read(infos_end - pairs_end)
        file.seek(data)
        more = b"".join(struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", UINT32, value)
                        for key, value in values.items())
        head = struct.pack("<4sIQQ", magic, version, tensor_count, pair_count + len(values)) + pairs + more + infos
        with open(target, "wb") as out:
            out.write(head + bytes(-len(head) % ALIGNMENT))
            while block := file.read(1 << 22):
                out.write(block)
