#!/usr/bin/env python3
"""Draws the figures of benches/peers: chart.py FIGURES >CHART.svg

One panel for each cold create out of a layout in gzip, and one for cached creates; a bar is the median, its
whisker least and most. Panels have scales of their own. Greys and blues that can be read on black and on white.
"""

import json
import re
import sys

from html import escape

from measure import spread

WIDTH, LABEL, VALUE = 760, 190, 110
BAR, GAP, HEAD = 13, 5, 34
OURS, OTHERS, FLOOR, TEXT = "#3584c4", "#8f8f8f", "#b58a3a", "#7d7d7d"


def panels(tables):
    """Titles with their rows of (name, wall times)."""
    for title, rows in tables.items():
        cold = re.fullmatch(r"Cold create, (\w+), gzip, layout", title)
        if cold:
            yield f"Cold create of {cold[1]}", [(name, row["wall"]) for name, row in rows.items()]
    cached = tables.get("Cached create", {})
    rows = [(name, row["wall"]) for name, row in cached.items()]
    if rows:
        yield "Cached create of busybox", rows


def color(name):
    if name.startswith("grootfs"):
        return OURS
    floor = ("inflate", "two sha256", "tar x", "cp -a", "/bin/true")
    return FLOOR if name.startswith(floor) else OTHERS


def text(x, y, words, anchor="start", weight="normal"):
    style = f'fill="{TEXT}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(words)}</text>'


def milliseconds(value):
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def panel(title, rows, top):
    """Lines of SVG, and where the next panel begins."""
    lines = [text(0, top + 16, title, weight="bold")]
    most = max(max(wall) for _, wall in rows)
    scale = (WIDTH - LABEL - VALUE) / most
    y = top + HEAD - 8
    for name, wall in rows:
        median, least, longest = spread(wall)
        middle = y + BAR / 2
        lines += [
            text(LABEL - 8, y + BAR - 3, name, "end"),
            f'<rect x="{LABEL}" y="{y}" width="{max(1, median * scale):.1f}" height="{BAR}" fill="{color(name)}"/>',
            f'<path d="M{LABEL + least * scale:.1f} {middle:.1f}H{LABEL + longest * scale:.1f}" stroke="{TEXT}"/>',
            text(LABEL + longest * scale + 6, y + BAR - 3, milliseconds(median)),
        ]
        y += BAR + GAP
    return lines, y + 12


def main():
    with open(sys.argv[1]) as file:
        tables = json.load(file)
    lines, top = [], 0
    for title, rows in panels(tables):
        drawn, top = panel(title, rows, top)
        lines += drawn
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
          'font-family="sans-serif" font-size="11">')
    print("\n".join(lines))
    print("</svg>")


main()
