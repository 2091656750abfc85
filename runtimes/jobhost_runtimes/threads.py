"""Threads that run blocking handlers: started when there is work and none is idle, kept for more.

A bundle has its own. Hosts that live for the length of a test share some: to start a thread costs more than such a test.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


class Threads:
    """At most `most` threads, which end with the process or with `close`."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._started = 0
        self._undone = 0
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()

    def run(self, work: Work) -> None:
        """Call `work`, which raises nothing, in a thread, soon."""
        with self._lock:
            self._undone += 1
            more = self._started < min(self._undone, self._most)
            self._started += more
        self._work.put(work)
        if more:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            with self._lock:
                self._undone -= 1

    def close(self) -> None:
        """Let each thread end once it has nothing to do."""
        for _ in range(self._started):
            self._work.put(None)
