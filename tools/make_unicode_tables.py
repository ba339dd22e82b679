#!/usr/bin/env python3
"""Writes engine/text/unicode_tables.c: the class of every Unicode code point, as the `tokenizers` library sees it.

The ids of a text depend on which characters a pre-tokenizer calls a letter, a number, a space. The library takes that
from two sources of different Unicode versions (its regex engine, and Rust's char::is_numeric for the Digits rule), so the
classes are read from the library itself: each property is applied to all code points. The version asked is pinned in
tests/requirements.txt; tests/parity/test_tokenizer.py fails when the table and the library differ.

    tools/make_unicode_tables.py [--check]     --check: exit 1 if the file is not what would be written
"""
import argparse
import pathlib
import sys

import tokenizers
from tokenizers import Regex
from tokenizers.pre_tokenizers import Digits, Split

TARGET = pathlib.Path(__file__).resolve().parent.parent / "engine" / "text" / "unicode_tables.c"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
BLOCK = 128

# Flag name in unicode_class.h -> property in the regex engine.
PROPERTIES = [
    ("LETTER", r"\p{L}"),
    ("NUMBER", r"\p{N}"),
    ("PUNCTUATION", r"\p{P}"),
    ("SYMBOL", r"\p{S}"),
    ("MARK", r"\p{M}"),
    ("SPACE", r"\s"),
    ("DIGIT", None),
    ("UPPER", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"),
    ("LOWER", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"),
    ("HAN", r"\p{Han}"),
]


def members(pattern):
    """Code points that the property holds for."""
    found = set()
    splitter = Split(Regex(pattern), "removed")
    for start in range(0, len(CODE_POINTS), 20000):
        text = "".join(map(chr, CODE_POINTS[start:start + 20000]))
        left = set()
        for piece, _ in splitter.pre_tokenize_str(text):
            left.update(piece)
        found.update(ord(c) for c in text if c not in left)
    return found


def digits():
    """Code points that the Digits pre-tokenizer sets apart."""
    found = set()
    splitter = Digits(individual_digits=True)
    for start in range(0, len(CODE_POINTS), 2000):
        text = "a" + "aa".join(map(chr, CODE_POINTS[start:start + 2000])) + "a"
        found.update(ord(p) for p, _ in splitter.pre_tokenize_str(text) if len(p) == 1 and p != "a")
    return found


def classify():
    """-> (flag sets in order of first use, class of each code point 0..0x10FFFF)."""
    flags = [0] * 0x110000
    for bit, (_, pattern) in enumerate(PROPERTIES):
        for c in digits() if pattern is None else members(pattern):
            flags[c] |= 1 << bit
    sets = []
    index = {}
    classes = bytearray(0x110000)
    for c, value in enumerate(flags):
        if value not in index:
            index[value] = len(sets)
            sets.append(value)
        classes[c] = index[value]
    return sets, classes


def rows(values, per_row):
    for start in range(0, len(values), per_row):
        yield "    " + ", ".join(str(v) for v in values[start:start + per_row]) + ","


def render():
    sets, classes = classify()
    blocks, order, stage1 = {}, [], []
    for start in range(0, 0x110000, BLOCK):
        block = bytes(classes[start:start + BLOCK])
        if block not in blocks:
            blocks[block] = len(order)
            order.append(block)
        stage1.append(blocks[block])
    names = [name for name, _ in PROPERTIES]
    lines = [
        "/* Written by tools/make_unicode_tables.py from the properties that the `tokenizers` library",
        f" * {tokenizers.__version__} applies. Not to be edited by hand. */",
        '#include "unicode_class.h"',
        "",
        "// clang-format off",
        f"const uint16_t unicode_class_flags[{len(sets)}] = {{",
    ]
    for value in sets:
        words = [f"UNICODE_{names[bit]}" for bit in range(len(names)) if value >> bit & 1]
        lines.append("    " + (" | ".join(words) or "0") + ",")
    lines += ["};", "", f"const uint16_t unicode_block_of[{len(stage1)}] = {{", *rows(stage1, 24), "};", "",
              f"const uint8_t unicode_class_in_block[{len(order) * BLOCK}] = {{",
              *rows([c for block in order for c in block], 32), "};", "// clang-format on", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        sys.exit(0 if TARGET.exists() and TARGET.read_text() == text else f"{TARGET} is out of date")
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
