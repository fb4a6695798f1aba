"""What was measured, kept between runs, and the tables of it."""

import json
import os

from measure import spread

HEAD = ["", "wall (ms)", "CPU (ms)", "peak (MiB)", "system calls"]


class Results:
    """Figures by title of a table and name of a row; a row that is measured again replaces the old one."""

    def __init__(self, path=None):
        self.path, self.tables = path, {}
        if path and os.path.exists(path):
            with open(path) as file:
                self.tables = json.load(file)
        self.begun = set()

    def add(self, title, row, wall, cpu, per=1):
        """One run; `per` is how many things it did."""
        if (title, row) not in self.begun:
            self.begun.add((title, row))
            self.tables.setdefault(title, {})[row] = {"wall": [], "cpu": []}
        figures = self.tables[title][row]
        figures["wall"].append(round(1000 * wall / per, 3))
        figures["cpu"].append(round(1000 * cpu / per, 3))

    def count(self, title, row, peak, calls):
        """What a run of its own has counted: KiB, calls."""
        self.tables[title][row].update(peak=round(peak / 1024, 1), calls=calls)

    def save(self):
        if self.path:
            with open(self.path, "w") as file:
                file.write(text(self.tables))

    def markdown(self):
        return "\n".join(table(title, rows) for title, rows in self.tables.items())


def text(tables):
    """JSON with a line for each row: what changes between two runs can be seen."""
    def lines(rows):
        return ",\n".join(f"  {json.dumps(name)}: {json.dumps(figures)}" for name, figures in rows.items())

    inner = ",\n".join(f" {json.dumps(title)}: {{\n{lines(rows)}\n }}" for title, rows in tables.items())
    return f"{{\n{inner}\n}}\n"


def table(title, rows):
    lines = [[title, *HEAD[1:]], ["---", *["---:"] * (len(HEAD) - 1)]]
    for name, figures in rows.items():
        lines.append([name, between(figures["wall"]), between(figures["cpu"]),
                      str(figures.get("peak", "")), str(figures.get("calls", ""))])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def between(values):
    """Median (least to most)."""
    median, least, most = spread(values)
    return f"{number(median)} ({number(least)} to {number(most)})"


def number(value):
    """Three digits that matter, no more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
