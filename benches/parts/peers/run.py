#!/usr/bin/env python3
"""Measures `grootfs` beside other programs; started by benches/peers, which makes everything ready.

All rows of a table take turns: each round runs every row once, so that what else the machine does meets
all alike. A row is chosen by its full name, `TABLE: ROW`.
"""

import argparse
import os
import re
import shlex
import sys

import measure
import tools
from results import Results

# Creates at once, and how many are made in all where a rate is measured.
AT_ONCE = 8
IN_ALL = 200

# The image of the rows with everything there: a small one, as snapshots of larger ones slow btrfs down with each
# that is there (benches/snapshots). And how many times more rounds they have: they are short.
CACHED = "busybox"
MORE = 5


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("room", "images", "grootfs", "registry", "containerd", "containerd-pid"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--results")
    given = parser.parse_args()
    given.rounds = int(os.environ["ROUNDS"])
    given.names = os.environ["IMAGES"].split()
    given.roots = [int(word) for word in os.environ["ROOTS"].split()]
    given.rows, given.counted = re.compile(os.environ["ROWS"]), re.compile(os.environ["COUNTED"])
    return given


class Bench:
    def __init__(self, given):
        self.given, self.results = given, Results(given.results)
        self.output = f"{given.room}/output"
        self.images = {}
        xfs, btrfs = f"{given.room}/xfs", f"{given.room}/btrfs"

        def place(filesystem, name):
            path = f"{filesystem}/{name}"
            os.makedirs(path, exist_ok=True)
            return path

        def tool(kind, name, filesystem, *more):
            label = os.path.basename(filesystem)
            where = place(filesystem, name.replace(" ", "-"))
            return kind(f"{name} {label}" if label not in name else name, where, label, given.registry, *more)

        daemon = measure.Daemon(int(given.containerd_pid))
        self.tools = [
            tools.Nothing("/bin/true", given.room, None, given.registry),
            tools.Grootfs("grootfs overlay-xfs", given.grootfs, f"{xfs}/store", "xfs", given.registry),
            tools.Grootfs("grootfs btrfs", given.grootfs, f"{btrfs}/store", "btrfs", given.registry),
            tools.Grootfs("grootfs btrfs simple", given.grootfs, f"{given.room}/simple", "btrfs", given.registry),
            tool(tools.Podman, "podman", xfs, "overlay"),
            tool(tools.Podman, "podman", btrfs, "btrfs"),
            tool(tools.Buildah, "buildah", xfs, "overlay"),
            tool(tools.Buildah, "buildah", btrfs, "btrfs"),
            tool(tools.Ctr, "ctr", xfs, "overlayfs", given.containerd, daemon),
            tool(tools.Ctr, "ctr", btrfs, "btrfs", given.containerd, daemon),
            tool(tools.Umoci, "umoci", xfs),
            tool(tools.Umoci, "umoci", btrfs),
            tool(tools.SkopeoTar, "skopeo and tar", xfs),
            tool(tools.SkopeoTar, "skopeo and tar", btrfs),
        ]
        self.parts = [
            tools.Inflate("inflate", place(given.room, "inflate"), None, None, self.plain),
            tools.Hash("two sha256", place(given.room, "hash"), None, None, self.plain),
            tool(tools.Extract, "tar x", xfs, self.plain),
            tool(tools.Extract, "tar x", btrfs, self.plain),
            tool(tools.ExtractAndSnapshot, "tar x and snapshots", btrfs, self.plain),
            tool(tools.Copy, "cp -a", xfs, self.plain),
        ]

    def image(self, name, compression="gzip"):
        key = f"{name}.{compression}"
        if key not in self.images:
            layout = f"{self.given.images}/{key}"
            self.images[key] = tools.Image(name, compression, layout, self.given.room)
        return self.images[key]

    def plain(self, image):
        """The layout with the layers as plain tars."""
        return f"{self.given.images}/{image.name}.plain"

    def chosen(self, title, row):
        return self.given.rows.search(f"{title}: {row}")

    def some(self, title, rows):
        """Those of the tools that have a row in this table."""
        return [tool for tool in rows if self.chosen(title, tool.name)]

    def measure(self, title, row, commands, daemon, per=1):
        wall, cpu = measure.timed(commands, self.output, daemon)
        self.results.add(title, row, wall, cpu, per)

    def count(self, title, row, commands, daemon):
        peak, calls = measure.counted(commands, self.output, daemon)
        self.results.count(title, row, peak, calls)

    def run(self):
        for name in self.given.names:
            for compression in ("gzip", "zstd", "plain"):
                for source in ("layout", "registry"):
                    self.cold(self.image(name, compression), source)
        for roots in self.given.roots:
            self.cached(roots)
        self.at_once()

    # A cold create, and the removal of all that it made.

    def cold(self, image, source):
        title = f"Cold create, {image.name}, {image.compression}, {source}"
        gone = f"Clean, {image.name}"
        rows = [tool for tool in self.some(title, self.tools + self.parts) if tool.reads(source, image)]
        rows = [tool for tool in rows if tool.cold(image, source, "cold")]
        for round in range(self.given.rounds + 1):
            for tool in rows:
                counts = round == self.given.rounds
                if counts and not self.given.counted.search(f"{title}: {tool.name}"):
                    continue
                say(f"{title}: {tool.name}, {'counted' if counts else f'round {round + 1}'}")
                self.settle()
                tool.prepare(image, source)
                (self.count if counts else self.measure)(
                    title, tool.name, tool.cold(image, source, "cold"), tool.daemon)
                self.remove(tool, None if counts or source != "layout" or image.compression != "gzip" else gone)
        if rows:
            self.results.save()

    def remove(self, tool, title):
        """Everything of the last cold create; measured where there is a title."""
        deleted = tool.delete("cold")
        if deleted:
            measure.timed(deleted, self.output)
        self.write_out()
        removal = tool.clean()
        if title and tool.filesystem and "cp" not in tool.name:
            self.measure(title, removed_by(tool, removal), removal, tool.daemon)
        else:
            measure.timed(removal, self.output)
        tool.forget()

    def settle(self):
        """What was written or removed before is nobody's cost any more."""
        # The first wakes who removes subvolumes, and would otherwise sleep for half a minute.
        for place in ("btrfs", "simple"):
            tools.quiet("btrfs", "filesystem", "sync", f"{self.given.room}/{place}")
            tools.quiet("btrfs", "subvolume", "sync", f"{self.given.room}/{place}")
        self.write_out()

    def write_out(self):
        """Not all that other work on the machine has written."""
        tools.quiet("sync", "--file-system", *(f"{self.given.room}/{place}" for place in ("xfs", "btrfs", "simple")))

    # Commands with a store in which everything is there.

    def cached(self, roots):
        def row(tool):
            return f"{tool.name}, {roots} roots"

        rows = [tool for tool in self.tools if roots <= tool.most_roots and tool.cached(self.image(CACHED), "x")]
        rows = [tool for tool in rows if self.chosen("Cached create", row(tool))]
        for tool in rows:
            self.fill(tool, roots)
        for round in range(self.given.rounds * MORE):
            for tool in rows:
                self.commands(tool, row(tool), f"r{roots}-{round}", self.measure)
        for tool in rows:
            if self.given.counted.search(f"Cached create: {row(tool)}"):
                self.commands(tool, row(tool), f"r{roots}-counted", self.count)
        if rows:
            self.results.save()

    def fill(self, tool, roots):
        image = self.image(CACHED)
        have = getattr(tool, "have", None)
        if have is None:
            say(f"{tool.name}: brings the image in")
            tool.prepare(image, "layout")
            tool.bring_in(image)
            have = 0
        if roots > have:
            say(f"{tool.name}: makes {roots - have} roots")
        if tool.filesystem:
            for number in range(have, roots):
                measure.timed(tool.cached(image, f"root-{number}"), self.output)
        tool.have = max(roots, have)

    def commands(self, tool, row, name, measured):
        image = self.image(CACHED)
        steps = {
            "Cached create": tool.cached(image, name),
            "Stats": tool.stats(name),
            "List": tool.list(),
            "Delete": tool.delete(name),
        }
        if isinstance(tool, tools.Nothing):
            steps["Stats"] = steps["List"] = steps["Delete"] = steps["Cached create"]
        if isinstance(tool, tools.Grootfs):
            steps["Clean without work"] = tool.clean()
        for step, commands in steps.items():
            if commands:
                measured(step, row, commands, tool.daemon)

    # Several at once.

    def at_once(self):
        # First: the removal of the others' images takes their containers too.
        self.rates()
        same = [self.image("eight-1")] * AT_ONCE
        different = [self.image(f"eight-{number}") for number in range(1, AT_ONCE + 1)]
        self.several("Cold creates at once",
                     {"one": same[:1], "8 of one image": same, "8 of 8 images": different})
        # A small image takes less time than the eight processes beside it.
        same = [self.image("debian")] * AT_ONCE
        self.several("Cold creates at once, debian", {"one": same[:1], "8 of one image": same})

    def several(self, title, cases):
        first = next(iter(cases.values()))[0]
        rows = [tool for tool in self.some(title, self.tools) if tool.cold(first, "layout", "x") and tool.list()]
        for _ in range(self.given.rounds):
            for tool in rows:
                for name, images in cases.items():
                    self.creates(title, tool, name, images)
            self.results.save()

    def creates(self, title, tool, name, images):
        say(f"{title}: {tool.name}, {name}")
        for image in images:
            tool.prepare(image, "layout")
        jobs = [one(tool.cold(image, "layout", f"c-{number}")) for number, image in enumerate(images)]
        self.settle()
        wall, cpu = measure.timed_at_once(jobs, self.output, AT_ONCE, tool.daemon)
        self.results.add(title, f"{tool.name}, {name}", wall, cpu)
        for number in range(len(images)):
            measure.timed(tool.delete(f"c-{number}"), self.output)
        for image in set(images):
            if isinstance(tool, tools.Ctr):
                tool.image = f"layout/{image.name}:latest"
            measure.timed(tool.clean(), self.output)

    def rates(self):
        title = f"Cached creates, {AT_ONCE} at a time (ms each)"
        for tool in self.some(title, self.tools):
            image = self.image(CACHED)
            if not tool.cached(image, "x"):
                continue
            self.fill(tool, 0)
            say(f"{title}: {tool.name}")
            many = IN_ALL if isinstance(tool, (tools.Grootfs, tools.Nothing)) else AT_ONCE * 3
            for round in range(self.given.rounds):
                jobs = [one(tool.cached(image, f"a-{round}-{number}")) for number in range(many)]
                wall, cpu = measure.timed_at_once(jobs, self.output, AT_ONCE, tool.daemon)
                self.results.add(title, tool.name, wall, cpu, many)
        self.results.save()


def one(commands):
    """Several commands as one."""
    if len(commands) == 1:
        return commands[0]
    return ["sh", "-c", " && ".join(shlex.join(argv) for argv in commands)]


def removed_by(tool, removal):
    """The name of a row: trees are removed by programs of their own."""
    if isinstance(tool, tools.Tree):
        return f"{shlex.join(removal[0][:-1])} of the tree of {tool.name}"
    return tool.name


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def main():
    bench = Bench(arguments())
    bench.run()
    print(bench.results.markdown())


main()
