"""One run of some commands: how long, how much CPU, how much memory, how many system calls."""

import functools
import os
import shutil
import signal
import statistics
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command that was measured did not succeed."""


class Daemon:
    """A process that works for the commands; what it costs is theirs."""

    def __init__(self, pid):
        self.pid = pid

    def cpu(self):
        """Seconds of itself and of the children that it has waited for."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        # utime, stime, cutime, cstime of proc(5).
        return sum(int(field) for field in fields[11:15]) / TICKS

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as refs:
            refs.write("5")

    def peak(self):
        """KiB since `forget_peak`."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


@functools.cache
def place_of(program):
    """Looked for once: that is not to be measured."""
    place = shutil.which(program)
    if place is None:
        raise Failed(f"there is no {program}")
    return place


def start(argv, output):
    """Starts a program as cheaply as possible; both outputs go to a file."""
    program = place_of(argv[0])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(program, argv, os.environ, file_actions=actions)


def wait(pid, argv, output):
    """The resources of a program that has succeeded."""
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        with open(output, errors="replace") as text:
            last = text.read().strip().splitlines()[-3:]
        raise Failed(f"{' '.join(argv)}: {' '.join(last)}")
    return usage.ru_utime + usage.ru_stime


def timed(commands, output, daemon=None):
    """Runs commands one after the other: seconds of wall time and of CPU."""
    before = daemon.cpu() if daemon else 0
    begin = time.monotonic()
    cpu = sum(wait(start(argv, output), argv, output) for argv in commands)
    wall = time.monotonic() - begin
    return wall, cpu + (daemon.cpu() - before if daemon else 0)


def timed_at_once(commands, output, most, daemon=None):
    """The same with `most` of them at a time."""
    before = daemon.cpu() if daemon else 0
    begin = time.monotonic()
    running, cpu = {}, 0
    for number, argv in enumerate(commands):
        if len(running) == most:
            cpu += reap(running)
        log = f"{output}-{number % (2 * most)}"
        running[start(argv, log)] = (argv, log)
    while running:
        cpu += reap(running)
    wall = time.monotonic() - begin
    return wall, cpu + (daemon.cpu() - before if daemon else 0)


def reap(running):
    """Waits for whichever ends first."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
    return wait(ended, *running.pop(ended))


def counted(commands, output, daemon=None):
    """Runs commands under strace: peak memory in KiB and system calls of all that they start.

    GNU time tells the larger of strace, which is small, and what runs under it. The launcher's own memory
    would count for each child: the kernel keeps the peak of a process over its exec.
    """
    counts, peak, calls = output + "-calls", 0, 0
    if daemon:
        return counted_with(daemon, commands, output, counts)
    for argv in commands:
        strace = ["strace", "--follow-forks", "--summary-only", "--output", counts, "--"]
        timer = ["/usr/bin/time", "--format", "%M", "--output", output + "-peak"]
        argv = timer + strace + argv
        wait(start(argv, output), argv, output)
        with open(output + "-peak") as text:
            peak = max(peak, int(text.read().split()[-1]))
        calls += total(counts)
    return peak, calls


def counted_with(daemon, commands, output, counts):
    """The same where the work is a daemon's: the client's calls are left out, the daemon's count."""
    strace = subprocess.Popen(
        ["strace", "--follow-forks", "--summary-only", "--output", counts, "--attach", str(daemon.pid)],
        stderr=subprocess.PIPE, text=True)
    # It says so when it is there.
    strace.stderr.readline()
    daemon.forget_peak()
    try:
        for argv in commands:
            wait(start(argv, output), argv, output)
        peak = daemon.peak()
    finally:
        strace.send_signal(signal.SIGINT)
        strace.communicate()
    return peak, total(counts)


def total(counts):
    """The sum below a table of strace."""
    with open(counts) as table:
        for line in table:
            words = line.split()
            if words and words[-1] == "total":
                return int(words[3])
    return 0


def spread(values):
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)
