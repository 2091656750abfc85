"""The watch over the children's memory where the kernel keeps none for us.

Summed RSS counts shared pages once for each process, so a fork looks like a doubling. RSS is cheap (10 us a process) and only raises the
suspicion; the proportional set size (12-18 ms) confirms it before anything is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .strays import descendants

if TYPE_CHECKING:
    from .child import Child

INTERVAL = 0.2
"""Seconds between looks."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Looks at each busy child's tree and calls `Child.over_memory` where it is over the limit (bytes; None: no watch)."""

    def __init__(self, limit: int | None, children: Callable[[], Iterable[Child]]) -> None:
        self._limit = limit
        self._children = children
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._limit is not None and os.path.exists("/proc/self/statm"):
            self._task = asyncio.get_running_loop().create_task(self._watch(self._limit))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self, limit: int) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            for child in list(self._children()):
                if child.runs and not child.dying:
                    used = tree_memory(child.pid, limit)
                    if used > limit:
                        child.over_memory(used, limit)


def tree_memory(pid: int, limit: int) -> int:
    """Bytes the process and its descendants use: summed RSS while that is within the limit, else summed PSS."""
    pids = [pid, *descendants(pid)]
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
