"""Reads the metadata of a GGUF file (format: ggml's docs/gguf.md), all that a tokenizer needs of it."""
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


def read_metadata(path):
    """-> {key: value}; strings as str (surrogateescape), arrays as lists."""
    with open(path, "rb") as file:
        def unpack(code):
            return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]

        def value(kind):
            if kind == STRING:
                return file.read(unpack("Q")).decode("utf-8", "surrogateescape")
            if kind == ARRAY:
                element, count = unpack("I"), unpack("Q")
                return [value(element) for _ in range(count)]
            return unpack(SCALARS[kind])

        assert file.read(4) == b"GGUF" and unpack("I") in (2, 3)
        unpack("Q")
        return {value(STRING): value(unpack("I")) for _ in range(unpack("Q"))}


def vocabulary(path):
    """What tests/support/tokenize_tool.c reads."""
    metadata = read_metadata(path)
    get = lambda name, default=None: metadata.get("tokenizer.ggml." + name, default)
    return {"pre": get("pre", "default"), "tokens": get("tokens"), "attributes": get("token_type"), "merges": get("merges"),
            "bos": get("bos_token_id", -1), "eos": get("eos_token_id", -1), "eot": get("eot_token_id", -1),
            "add_bos": get("add_bos_token", False), "add_eos": get("add_eos_token", False)}
