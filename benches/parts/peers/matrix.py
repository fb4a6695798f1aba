#!/usr/bin/env python3
"""The figures of benches/peers as one table, a row for each thing that is done: matrix.py FIGURES

Milliseconds, medians: wall time, and CPU behind it. The floor of a cold create is what inflating and both digests
take, or the extraction of the plain tars, whichever is more: two processors can share the work like that. On btrfs the
extraction has a snapshot on top of each layer, as any store there.
"""

import json
import statistics
import sys

from results import number

TOOLS = ["grootfs overlay-xfs", "grootfs btrfs", "grootfs btrfs simple", "podman xfs", "buildah xfs", "ctr xfs", "umoci xfs",
         "skopeo and tar xfs"]
EXTRACTIONS = ["tar x xfs", "tar x and snapshots btrfs"]
REMOVALS = [("rm -rf", "xfs"), ("btrfs subvolume delete", "btrfs")]
AT_ONCE = ["one", "8 of one image", "8 of 8 images"]


def cell(figures):
    if not figures:
        return ""
    return f"{number(statistics.median(figures['wall']))} / {number(statistics.median(figures['cpu']))}"


def floor(rows, extraction):
    parts = [rows.get(name) for name in ("inflate", "two sha256")]
    if not all(parts):
        return ""
    inflated = sum(statistics.median(part["wall"]) for part in parts)
    extracted = rows.get(extraction)
    return number(max(inflated, statistics.median(extracted["wall"]) if extracted else 0))


def lines(tables):
    for title, rows in tables.items():
        if title.startswith("Cold create,"):
            # The tars are the same in every compression; they were extracted once.
            gzip = tables.get(title.replace("zstd", "gzip").replace("plain", "gzip"), {})
            rows = {**{name: gzip.get(name) for name in EXTRACTIONS}, **rows}
            yield title, [cell(rows.get(tool)) for tool in TOOLS] + [floor(rows, name) for name in EXTRACTIONS]
        elif title.startswith("Clean,"):
            named = dict(rows)
            for tool in ("umoci xfs", "skopeo and tar xfs"):
                named[tool] = rows.get(f"rm -rf of the tree of {tool}")
            removed = [f"{how} of the tree of tar x {where}" for how, where in REMOVALS]
            yield title, [cell(named.get(tool)) for tool in TOOLS] + [cell(rows.get(name)) for name in removed]
        elif title.startswith("Cold creates at once"):
            for what in AT_ONCE:
                named = [cell(rows.get(f"{tool}, {what}")) for tool in TOOLS]
                if any(named):
                    yield f"{title}, {what}", named + ["", ""]
        elif title.startswith("Cached creates,"):
            yield title, [cell(rows.get(tool)) for tool in TOOLS] + [cell(rows.get("/bin/true"))] * 2
        else:
            levels = sorted({int(row.rpartition(", ")[2].split()[0]) for row in rows})
            for level in levels:
                named = [cell(rows.get(f"{tool}, {level} roots")) for tool in TOOLS]
                yield f"{title}, {level} roots", named + [cell(rows.get(f"/bin/true, {level} roots"))] * 2


def main():
    with open(sys.argv[1]) as file:
        tables = json.load(file)
    print("| ms, wall / CPU | " + " | ".join(TOOLS) + " | floor xfs | floor btrfs |")
    print("|---" * (len(TOOLS) + 3) + "|")
    for title, cells in lines(tables):
        print(f"| {title} | {' | '.join(cells)} |")


main()
