#!/usr/bin/env python3
"""Writes tests/data/perplexity_text.txt: modern English prose from SQLite's documentation, which is in the public domain.

    apt-get download sqlite3-doc && dpkg -x sqlite3-doc_*.deb unpacked
    python make_perplexity_text.py unpacked/usr/share/doc/sqlite3 OUT.txt

Made from sqlite3-doc 3.40.1-2+deb12u2, whose copyright file says of these pages "public-domain" (so does
https://www.sqlite.org/copyright.html). The text is checked in and its SHA-256 is part of the reference, so a later package
changes nothing. Pages of many kinds are taken: essays, measurements, a manual with code and numbers, history.
"""

import html.parser
import pathlib
import re
import sys

HEAD = ("From the documentation of SQLite 3.40.1, which its authors have dedicated to the public domain.\n"
        "Pages: {pages}.\n")
PAGES = ["whynotgit", "flextypegood", "fasterthanfs", "qmplan", "floatingpoint", "appfileformat", "whyc", "isolation"]
SKIPPED = {"script", "style", "svg", "head", "title", "button"}
PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "pre", "blockquote", "table", "ul", "ol", "dl", "div"}
LINES = {"li", "tr", "br", "dt", "dd"}
VOID = {"br", "img", "link", "meta", "hr", "input"}
NAVIGATION = {"nosearch", "fancy_toc"}  # classes of menus and tables of contents; the title is inside the first
END = "This page last modified on"


class Page(html.parser.HTMLParser):
    """Collects what a reader of the page sees between its title and its date."""

    def __init__(self):
        super().__init__()
        self.parts, self.open, self.pre_depth = [], [], 0

    def handle_starttag(self, tag, attributes):
        classes = set((dict(attributes).get("class") or "").split())
        if tag not in VOID:
            hidden = tag in SKIPPED or bool(classes & NAVIGATION)
            self.open.append((tag, hidden, "fancy_title" in classes))
        self.pre_depth += tag == "pre"
        self.separate(tag)

    def handle_endtag(self, tag):
        if tag not in (name for name, _, _ in self.open):
            return
        while self.open.pop()[0] != tag:  # HTML lets li, p, td and others stay open
            pass
        self.pre_depth -= tag == "pre"
        self.separate(tag)

    def separate(self, tag):
        self.parts.append("\n\n" if tag in PARAGRAPHS else "\n" if tag in LINES else " " if tag in ("td", "th") else "")

    def handle_data(self, data):
        is_title = any(title for _, _, title in self.open)
        if is_title or not any(hidden for _, hidden, _ in self.open):
            # Spaces of code are kept from `plain` as no-break spaces.
            self.parts.append(data.replace("\n", "\x01").replace(" ", "\xa0") if self.pre_depth
                              else re.sub(r"\s+", " ", data))

    def plain(self):
        text = "".join(self.parts).split(END)[0]
        text = re.sub(r"[ \t]+", " ", text)
        text = re.sub(r" ?\n ?", "\n", text).replace("\x01", "\n").replace("\xa0", " ")
        text = re.sub(r" +\n", "\n", text)
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def text_of(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page.plain()


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    texts = [HEAD.format(pages=", ".join(PAGES))] + [text_of(folder / f"{name}.html") for name in PAGES]
    out.write_text("\n\n".join(texts), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
