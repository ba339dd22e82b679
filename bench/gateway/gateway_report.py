"""The document of gateway.py as JSON, Markdown tables and a plot. Pure but for write()."""
import json
import math
import statistics
from xml.sax.saxutils import escape

import cases
import plots

OURS = "penstock"
BAR, GAP, LEFT, WIDTH = 15, 8, 150, 860
DRAWN = (("rate-h1", "per_second", "requests/s, HTTP/1.1"), ("rate-h2", "per_second", "requests/s, HTTP/2"),
         ("sse-h1", "per_second", "events/s, HTTP/1.1"), ("paced-h1", "cpu_us", "CPU us an event, one by one, HTTP/1.1"))


def values(rounds, name, key):
    return [done[name][key] for done in rounds if key in done.get(name, {})]


def spread_text(numbers, digits):
    if not numbers:
        return "-"
    text = f"{statistics.median(numbers):,.{digits}f}"
    return text if len(numbers) == 1 else f"{text} ({min(numbers):,.{digits}f}..{max(numbers):,.{digits}f})"


def ratio(rounds, name, key):
    """Ours over theirs, round by round; the median."""
    pairs = [(done[OURS][key], done[name][key]) for done in rounds
             if key in done.get(OURS, {}) and done.get(name, {}).get(key, 0) > 0]
    return statistics.median(ours / theirs for ours, theirs in pairs) if pairs else None


def failure(rounds, name):
    return next((done[name]["failed"] for done in rounds if "failed" in done.get(name, {})), None)


def front_row(document, rounds, case, name):
    cells = [spread_text(values(rounds, name, column[0]), column[2]) for column in case.columns]
    if all(cell == "-" for cell in cells):
        why = failure(rounds, name)
        return None if why is None else [document["titles"][name], why, *[""] * len(case.columns)]
    ratios = [ratio(rounds, name, column[0]) for column in case.columns if column[3] is not None]
    shown = "" if name == OURS else " / ".join("-" if each is None else f"{each:.2f}" for each in ratios)
    return [document["titles"][name], *cells, shown]


def line(cells):
    return "| " + " | ".join(cells) + " |"


def case_table(document, name):
    case, rounds = cases.CASES[name], document["rounds"][name]
    compared = " / ".join(column[1].split(",")[0] for column in case.columns if column[3] is not None)
    head = ["gateway", *(column[1] for column in case.columns), f"Penstock's over this ({compared})"]
    rows = [row for row in (front_row(document, rounds, case, front) for front in document["titles"]) if row is not None]
    return [f"### {case.title}", "", line(head), "|" + "---|" * len(head), *map(line, rows), ""]


def attack_table(document, names):
    """One table for all attacks: probe p99 and memory of each gateway."""
    attacked = [front for front in document["titles"] if any(front in done for name in names for done in document["rounds"][name])]
    head = ["attack", *(f"{document['titles'][front]}: probe p50 / p99, us; MiB more" for front in attacked)]
    rows = []
    for name in names:
        rounds, cells = document["rounds"][name], []
        for front in attacked:
            numbers = [values(rounds, front, key) for key in ("p50_us", "p99_us", "grown_mib")]
            cells.append(failure(rounds, front) or "-" if not numbers[0] else
                         f"{spread_text(numbers[0], 0)} / {spread_text(numbers[1], 0)}; {spread_text(numbers[2], 1)}")
        rows.append([name.removeprefix("attack-"), *cells])
    return ["### Attacks: a probe beside four attacking connections", "", line(head), "|" + "---|" * len(head), *map(line, rows), ""]


def head_text(document):
    machine, settings = document["machine"], document["settings"]
    parts = [f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; a gateway has one core, load and upstream the "
             f"other; {settings['seconds']:g} s a figure, medians over rounds (smallest..largest), events of {settings['event_bytes']} "
             "bytes. \"Of its core\" below 1 means that the load, not the gateway, was at its end: then CPU tells more than the rate.", ""]
    for run in document["runs"]:
        parts.append(f"- {run['date']}, commit {run['commit']}, load average {run['load_average']:.1f} at the start")
    parts += [f"- **{title} is absent: {why}**" for title, why in document["absent"].items()]
    return [*parts, ""]


def markdown(document):
    attacks = [name for name in document["rounds"] if cases.CASES[name].group == "attack"]
    lines = head_text(document)
    for name in document["rounds"]:
        if name not in attacks:
            lines += case_table(document, name)
    if attacks:
        lines += attack_table(document, attacks)
    return "\n".join(lines)


def panel(document, name, key, title, top):
    """Bars of one figure, logarithmic: the gateways are decades apart. (lines, height)"""
    rounds = document["rounds"].get(name, [])
    bars = [(front, statistics.median(values(rounds, front, key))) for front in document["titles"] if values(rounds, front, key)]
    if not bars:
        return [], 0
    low = 10 ** math.floor(math.log10(min(value for _, value in bars)) - 0.01)
    scale = plots.Scale(low, max(value for _, value in bars), 4, WIDTH - LEFT - 110, True)
    parts = [f'<text class="title" x="{LEFT}" y="{top + 14}">{escape(title)}</text>']
    for row, (front, value) in enumerate(bars):
        y = top + 24 + row * (BAR + GAP)
        tone = list(document["titles"]).index(front) % len(plots.LIGHT)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(document["titles"][front].split()[0])}</text>'
                     f'<rect class="s{tone}" x="{LEFT}" y="{y}" width="{scale(value):.1f}" height="{BAR}"/>'
                     f'<text x="{LEFT + scale(value) + 6:.1f}" y="{y + 12}">{value:,.{0 if value >= 100 else 2}f}</text>')
    return parts, 24 + len(bars) * (BAR + GAP) + 18


def chart(document):
    """An SVG document of the main figures, or None when there are none."""
    parts, top = [], 12
    for name, key, title in DRAWN:
        drawn, height = panel(document, name, key, title, top)
        parts += drawn
        top += height
    if not parts:
        return None
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" aria-label="Gateways side by side">',
                      f"<style>{plots.style()}</style>", *parts, "</svg>", ""])


def write(document, folder):
    (folder / "gateway.json").write_text(json.dumps(document, indent=1))
    (folder / "gateway.md").write_text(markdown(document))
    drawn = chart(document)
    if drawn is not None:
        (folder / "gateway.svg").write_text(drawn)
