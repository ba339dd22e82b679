"""Line charts as SVG, written by hand so that no package is needed. Colours follow the reader's light or dark theme."""
import dataclasses
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 74, 270, 44, 52  # margins; the legend stands in the right one

# Okabe and Ito's palette (2008), told apart by the colour-blind; the dark theme has lighter tones of the same order.
LIGHT = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#7a5195", "#8c6d31")
DARK = ("#56b4e9", "#ff8f4a", "#f0c04a", "#3fd0a3", "#e9a3c9", "#b79ae0", "#c9ab6b")


@dataclasses.dataclass(frozen=True)
class Line:
    title: str
    points: tuple  # of (x, median, smallest, largest)


def style():
    light = "".join(f".s{i}{{stroke:{c};fill:{c}}}" for i, c in enumerate(LIGHT))
    dark = "".join(f".s{i}{{stroke:{c};fill:{c}}}" for i, c in enumerate(DARK))
    return ("text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}"
            ".grid{stroke:#d0d7de;stroke-width:1}.line{fill:none;stroke-width:2}.range{stroke-width:1;opacity:.6}.ours{stroke-width:3.5}"
            + light + "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#3d444d}" + dark + "}"
            ".line{fill:none}")


def ticks_linear(top):
    """About five round steps from 0 to the first at or above `top`."""
    step = 10 ** math.floor(math.log10(top / 5)) if top > 0 else 1
    step = next(step * m for m in (1, 2, 5, 10) if step * m * 5 >= top)
    return [step * i for i in range(int(math.ceil(top / step - 1e-9)) + 1)]


def ticks_logarithmic(low, high):
    """Powers of ten that enclose the range."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0 ** e for e in range(first, max(last, first + 1) + 1)]


class Scale:
    """From a value to a coordinate."""

    def __init__(self, low, high, start, end, is_logarithmic):
        self.of = math.log if is_logarithmic else float
        self.low, self.span = self.of(low), (self.of(high) - self.of(low)) or 1.0
        self.start, self.length = start, end - start

    def __call__(self, value):
        return self.start + (self.of(value) - self.low) / self.span * self.length


def number(value):
    return f"{value:g}"


def grid(ticks_x, ticks_y, x, y):
    parts = []
    for tick in ticks_y:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
                     f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in ticks_x:
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{number(tick)}</text>')
    return parts


def drawn(index, line, x, y):
    """Line, markers and the range of the rounds of one series, and its line in the legend. The first series is ours: wider."""
    tone = f"s{index % len(LIGHT)}"
    path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py, _, _ in line.points)
    parts = [f'<polyline class="{tone} line{" ours" if index == 0 else ""}" points="{path}"/>']
    for px, py, low, high in line.points:
        parts.append(f'<circle class="{tone}" cx="{x(px):.1f}" cy="{y(py):.1f}" r="3"/>')
        if high > low:
            parts.append(f'<line class="{tone} range" x1="{x(px):.1f}" x2="{x(px):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>')
    at = TOP + 14 + 22 * index
    parts.append(f'<line class="{tone} line{" ours" if index == 0 else ""}" x1="{WIDTH - RIGHT + 18}" x2="{WIDTH - RIGHT + 42}" '
                 f'y1="{at - 4}" y2="{at - 4}"/><text x="{WIDTH - RIGHT + 50}" y="{at}">{escape(line.title)}</text>')
    return parts


def chart(title, title_x, title_y, lines, is_y_logarithmic=False):
    """An SVG document, or None when there is nothing to draw. The x axis is logarithmic: streams and rates double."""
    points = [point for line in lines for point in line.points]
    if not points:
        return None
    xs, lows, highs = sorted({p[0] for p in points}), [p[2] for p in points], [p[3] for p in points]
    ticks_y = (ticks_logarithmic(max(min(lows), 1e-3), max(highs)) if is_y_logarithmic else ticks_linear(max(highs)))
    x = Scale(xs[0], xs[-1], LEFT + 16, WIDTH - RIGHT - 12, True)
    y = Scale(ticks_y[0], ticks_y[-1], HEIGHT - BOTTOM, TOP, is_y_logarithmic)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
             f"<style>{style()}</style>",
             f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
             f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(title_x)}</text>',
             f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
             f"{escape(title_y)}</text>", *grid(xs, ticks_y, x, y)]
    for index, line in enumerate(lines):  # a series keeps its tone in every chart, also where another has no points
        parts += drawn(index, line, x, y) if line.points else []
    return "\n".join([*parts, "</svg>", ""])
