#!/usr/bin/env python3
"""Writes engine/text/unicode_tables.c: the class of every Unicode code point, as the `tokenizers` library sees it, and
engine/text/normal_tables.c: what its normalizers make of a code point.

The ids of a text depend on which characters a pre-tokenizer calls a letter, a number, a space. The library takes that
from two sources of different Unicode versions (its regex engine, and Rust's char::is_numeric for the Digits rule), so the
classes are read from the library itself: each property is applied to all code points. The version asked is pinned in
tests/requirements.txt; tests/parity/test_tokenizer.py fails when the table and the library differ.

    tools/make_unicode_tables.py [--check]     --check: exit 1 if the files are not what would be written
"""
import argparse
import pathlib
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer, Digits, Split, Whitespace, WhitespaceSplit

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "engine" / "text"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
BLOCK = 128

# Flag name in unicode_class.h -> property in the regex engine, or how the library's own rules are asked.
PROPERTIES = [
    ("LETTER", r"\p{L}"),
    ("NUMBER", r"\p{N}"),
    ("PUNCTUATION", r"\p{P}"),
    ("SYMBOL", r"\p{S}"),
    ("MARK", r"\p{M}"),
    ("SPACE", r"\s"),
    ("DIGIT", lambda: isolated(Digits(individual_digits=True))),
    ("UPPER", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"),
    ("LOWER", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"),
    ("HAN", r"\p{Han}"),
    ("WORD", lambda: joined(Whitespace())),
    ("WHITESPACE", lambda: dropped_words(WhitespaceSplit())),
    ("BERT_PUNCTUATION", lambda: isolated(BertPreTokenizer())),
    ("BERT_REMOVED", lambda: removed(bert(clean_text=True))),
    ("BERT_ACCENT", lambda: removed(bert(strip_accents=True))),
    ("ACCENT", lambda: removed(normalizers.StripAccents())),
]


def bert(clean_text=False, strip_accents=False):
    return normalizers.BertNormalizer(clean_text=clean_text, handle_chinese_chars=False, strip_accents=strip_accents,
                                      lowercase=False)


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


def isolated(splitter):
    """Code points that a splitter sets apart from letters around them."""
    found = set()
    for start in range(0, len(CODE_POINTS), 2000):
        text = "a" + "aa".join(map(chr, CODE_POINTS[start:start + 2000])) + "a"
        found.update(ord(p) for p, _ in splitter.pre_tokenize_str(text) if len(p) == 1 and p != "a")
    return found


def joined(splitter):
    """Code points that a splitter leaves in one word with letters around them."""
    found = set()
    for start in range(0, len(CODE_POINTS), 2000):
        text = " ".join("a" + chr(c) + "a" for c in CODE_POINTS[start:start + 2000])
        found.update(ord(p[1]) for p, _ in splitter.pre_tokenize_str(text) if len(p) == 3)
    return found


def dropped_words(splitter):
    """Code points that a splitter leaves out."""
    found = set(CODE_POINTS)
    for start in range(0, len(CODE_POINTS), 20000):
        for piece, _ in splitter.pre_tokenize_str("".join(map(chr, CODE_POINTS[start:start + 20000]))):
            found.difference_update(map(ord, piece))
    return found


def removed(normalizer):
    """Code points of which a normalizer leaves nothing."""
    return {c for c in CODE_POINTS if normalizer.normalize_str(chr(c)) == ""}


def classify():
    """-> (flag sets in order of first use, class of each code point 0..0x10FFFF)."""
    flags = [0] * 0x110000
    for bit, (_, pattern) in enumerate(PROPERTIES):
        for c in pattern() if callable(pattern) else members(pattern):
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


def render_classes():
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


HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed and decomposed by arithmetic


def mappings(normalizer):
    """[(code point, what the normalizer makes of it)] where that is something else."""
    made = ((c, [ord(x) for x in normalizer.normalize_str(chr(c))]) for c in CODE_POINTS if c not in HANGUL)
    return [(c, to) for c, to in made if to != [c]]


def compositions():
    """[(first, second, composed)] of canonical pairs, sorted."""
    composer = normalizers.NFC()
    pairs = []
    for c in CODE_POINTS:
        parts = unicodedata.decomposition(chr(c)).split()
        if c in HANGUL or len(parts) != 2 or parts[0].startswith("<"):
            continue
        first, second = (int(p, 16) for p in parts)
        if composer.normalize_str(chr(first) + chr(second)) == chr(c):
            pairs.append((first, second, c))
    return sorted(pairs)


def render_normal():
    tables = {"canonical": mappings(normalizers.NFD()), "compatible": mappings(normalizers.NFKD()),
              "lower": mappings(normalizers.Lowercase())}
    # What NFKD shares with NFD is looked up there.
    shared = dict(tables["canonical"])
    tables["compatible"] = [(c, to) for c, to in tables["compatible"] if shared.get(c) != to]
    order = [(c, unicodedata.combining(chr(c))) for c in CODE_POINTS if unicodedata.combining(chr(c))]
    characters, lines = [], []
    for name, rows_of_table in tables.items():
        lines.append(f"const struct normal_mapping normal_{name}[{len(rows_of_table)}] = {{")
        for c, to in rows_of_table:
            lines.append(f"    {{0x{c:X}, {len(characters)}, {len(to)}}},")
            characters += to
        lines += ["};", f"const uint32_t normal_{name}_count = {len(rows_of_table)};", ""]
    lines += [f"const uint32_t normal_characters[{len(characters)}] = {{", *rows(characters, 16), "};", ""]
    pairs = compositions()
    lines += [f"const struct normal_pair normal_pairs[{len(pairs)}] = {{",
              *(f"    {{0x{a:X}, 0x{b:X}, 0x{c:X}}}," for a, b, c in pairs), "};",
              f"const uint32_t normal_pair_count = {len(pairs)};", "",
              f"const struct normal_order normal_orders[{len(order)}] = {{",
              *(f"    {{0x{c:X}, {n}}}," for c, n in order), "};", f"const uint32_t normal_order_count = {len(order)};"]
    return "\n".join([
        "/* Written by tools/make_unicode_tables.py from what the `tokenizers` library",
        f" * {tokenizers.__version__} makes of each code point; combining classes of Unicode {unicodedata.unidata_version}.",
        " * Not to be edited by hand. */", '#include "normal_tables.h"', "", "// clang-format off", *lines,
        "// clang-format on", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    for name, text in {"unicode_tables.c": render_classes(), "normal_tables.c": render_normal()}.items():
        target = FOLDER / name
        if not arguments.check:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            sys.exit(f"{target} is out of date")


if __name__ == "__main__":
    main()
