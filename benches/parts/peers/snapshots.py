#!/usr/bin/env python3
"""Makes roots and snapshots in turn, for benches/snapshots: snapshots.py GROOTFS DIR IMAGE ROOTS"""

import glob
import sys

from measure import spread, timed

# Creates whose figures are one line.
LINE = 20


def main():
    grootfs, place, image, roots = sys.argv[1:]
    layer, = glob.glob(f"{place}/store/volumes/*")
    print(f"{'ms: median (least to most)':<28}{'create, wall':>26}{'create, CPU':>26}{'btrfs snapshot, CPU':>26}")
    for first in range(0, int(roots), LINE):
        figures = [[], [], []]
        for number in range(first, first + LINE):
            wall, cpu = timed([[grootfs, "--store", f"{place}/store", "create", image, f"root-{number}"]],
                              f"{place}/output")
            _, beside = timed([["btrfs", "subvolume", "snapshot", layer, f"{place}/snapshot-{number}"]],
                              f"{place}/output")
            for column, value in zip(figures, (wall, cpu, beside)):
                column.append(1000 * value)
        texts = ["{:.1f} ({:.1f} to {:.1f})".format(*spread(column)) for column in figures]
        print(f"{f'{2 * first} to {2 * (first + LINE)} snapshots':<28}" + "".join(f"{text:>26}" for text in texts))


main()
