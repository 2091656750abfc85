"""The watch over the children's memory and processor time where the kernel keeps none for us.

Summed RSS counts shared pages once for each process, so a fork looks like a doubling. RSS is cheap (10 us a process) and only raises the
suspicion; the proportional set size (12-18 ms) confirms it before anything is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .strays import descendants

if TYPE_CHECKING:
    from .bundle import BundleSpec
    from .child import Child

INTERVAL = 0.2
"""Seconds between looks."""
SWOLLEN = 0.5
"""The part of what its limit left a child after its first run from which on it is replaced between runs: one that leaks dies of its
limit in the middle of one otherwise."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Looks at each busy child's tree and calls `Child.over_memory`, `over_processes` or `over_time` where a limit is passed."""

    def __init__(self, bundle: BundleSpec, children: Callable[[], Iterable[Child]]) -> None:
        self._limits = bundle.limits
        # At the other levels the kernel counts, by the user or the namespace that is the child's alone.
        self._processes = bundle.limits.processes if bundle.isolation == "process" else None
        self._children = children
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        limits = self._limits
        limited = any(limit is not None for limit in (limits.memory, limits.cpu_time, self._processes))
        if limited and os.path.exists("/proc/self/statm"):
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        memory, cpu_time, processes = self._limits.memory, self._limits.cpu_time, self._processes
        while True:
            await asyncio.sleep(INTERVAL)
            for child in list(self._children()):
                if not child.runs or child.dying:
                    continue
                below = descendants(child.pid)
                if processes is not None and len(below) >= processes:
                    child.over_processes(len(below) + 1, processes)
                elif (
                    memory is not None
                    and not child.memory_held
                    and (used := tree_memory(child.pid, memory, below)) > memory
                ):
                    child.over_memory(used, memory)
                elif cpu_time is not None and (spent := child.cpu_of_run()) > cpu_time:
                    child.over_time(spent, cpu_time)


class Growth:
    """Whether a child has grown so much that it is to be replaced before its next run. What its first run brings in belongs to it."""

    def __init__(self) -> None:
        self._first = 0
        self._next = 0.0

    def too_much(self, pid: int, limit: int | None, now: float) -> bool:
        """To be asked when no run is in it; looks once an `INTERVAL`. `limit` in bytes."""
        if limit is None or now < self._next:
            return False
        self._next = now + INTERVAL
        used = tree_memory(pid, limit)
        if not self._first:
            self._first = used
        return used > self._first + (limit - self._first) * SWOLLEN


def tree_memory(pid: int, limit: int, below: Sequence[int] | None = None) -> int:
    """Bytes the process and its descendants use: summed RSS while that is within the limit, else summed PSS."""
    pids = [pid, *(descendants(pid) if below is None else below)]
    rss = sum(_rss(each) for each in pids)
    return rss if rss <= limit or len(pids) == 1 else sum(_pss(each) for each in pids)


def _rss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0  # it ended meanwhile


def _pss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # it ended meanwhile, or is not ours to look at
    return _rss(pid)
