"""Texts that tokenizers stumble over, from a seed."""
import random

ENGLISH = ("The quick brown fox doesn't jump over 12 lazy dogs; it'll wait until 3:45pm, I'VE HEARD. We're DONE'S, they'd "
           "said: 'tis 1,234,567.89 (or ½) of the — “whole” — story…\n\n\tif (x == 0x1F) { return a->b[i++]; }  \r\n"
           "user@example.com https://example.org/a?b=c&d=%20#e  3rd 100% $5 C++ #hash _under_score__ don’t O'Neil ")
OTHER = ("Überfluß naïve café Ελληνικά русский язык עברית العربية हिन्दी ภาษาไทย 中文，标点。 日本語テキスト カタカナ 한국어 ქართული "
         "Tiếng Việt ＡＢＣ１２３ ǅ ǆ ª º ʰ ﬁ ſt İı ẞ 'ſ 'ſe 'Sx 'RE 'Ve 'lL 😀👩‍👩‍👧‍👦🇩🇪👍🏽 ①②Ⅷ٣४๕ ¼ ㊿ ᛮ 𝟘𝟙 𐒠 e\u0301 a\u0308\u0323 ")
SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\x1c\x1f"
SIGNS = "'!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~«»¿¡„‚‹›、。「」！？…–—"
# One of each kind that a class table may get wrong: unassigned, private use, variation selectors, format characters.
ODD = "\u0378\ue000\ufe0f\u200d\u2060\U000e0041\U0001f3fb\U00010d40\U000116d0\U00011de0\U00016ff4\U0001ccf0\U0001e5f1\U0010fffd"


def any_character(random_source):
    """A scalar value from any plane, the low ones more often."""
    while True:
        bits = random_source.choice([7, 7, 8, 11, 11, 12, 16, 16, 17, 18, 21])
        c = random_source.randrange(1 << bits)
        if c < 0x110000 and not 0xD800 <= c < 0xE000:
            return chr(c)


def fragment(r):
    kind = r.randrange(12)
    if kind < 3:
        start = r.randrange(len(ENGLISH))
        return ENGLISH[start:start + r.randrange(1, 40)]
    if kind < 5:
        start = r.randrange(len(OTHER))
        return OTHER[start:start + r.randrange(1, 20)]
    if kind == 5:
        return "".join(r.choice(SPACES) for _ in range(r.randrange(1, 6)))
    if kind == 6:
        return r.choice([" ", "  ", "\n", "\r\n", "\n\n", " \n ", "\t"]) * r.randrange(1, 5)
    if kind == 7:
        return "".join(r.choice(SIGNS) for _ in range(r.randrange(1, 6)))
    if kind == 8:
        return str(r.randrange(10 ** r.randrange(1, 12)))
    if kind == 9:
        return any_character(r) * r.randrange(1, 4)
    if kind == 10:
        return "".join(any_character(r) for _ in range(r.randrange(1, 10)))
    return r.choice(ODD) + r.choice("aA1 '\n.") * r.randrange(3)


def texts(count, seed):
    r = random.Random(seed)
    yield from ("", " ", "\n", "'", "a", "  a", "a ", "'s", "\u0000", ENGLISH, OTHER, SPACES, SIGNS, ODD)
    for _ in range(count):
        yield "".join(fragment(r) for _ in range(r.randrange(1, 12)))


def all_code_points(chunk=700):
    """Every scalar value once, each chunk with neighbours that make borders visible."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(points), chunk):
        yield "".join(" a" + chr(c) + "b1" + chr(c) + "." for c in points[start:start + chunk])


def long_runs(count):
    for unit in ("a", " ", "7", "😀", "\n", "ab", "é", "!", "\t ", "一"):
        yield unit * (count // len(unit.encode()))


def broken_bytes(count, seed):
    """Byte strings that are mostly not UTF-8."""
    r = random.Random(seed)
    for _ in range(count):
        whole = bytearray("".join(fragment(r) for _ in range(4)).encode())
        for _ in range(r.randrange(1, 5)):
            at = r.randrange(len(whole) + 1)
            whole[at:at + r.randrange(3)] = bytes(r.randrange(256) for _ in range(r.randrange(1, 4)))
        yield bytes(whole)
