"""What a run cost: kept with its job, in JSON.

`wall_ms`, `cpu_ms`, `memory` (bytes: the largest the child has been), `received` and `sent` (bytes over the wire), `calls` (of the
child to its host), `pid`, `start_ms` (of its child), `code` (a hash of the bundle's files), `level`. The kernel counts processor time in
ticks of 10 ms and for a whole process, so a child is looked at no more often; where other runs were in the child meanwhile, `shared`
is true and the figures are those of all of them.
"""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

from .bundle import BundleSpec

TICK = 0.01
"""Seconds between two looks."""
_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Usage:
    """Processor time and memory of one process, from /proc; zeros where there is none."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._next = 0.0
        self._cpu = 0.0
        self._next_peak = 0.0
        self._peak = 0

    def resting(self) -> float:
        """What `cpu` gave last, of a process that has done nothing since: a look costs 30 us, in which its next run would wait."""
        return self._cpu if self._next else self.cpu(time.monotonic())

    def cpu(self, now: float) -> float:
        """Seconds of processor time so far, of ended children too."""
        if now >= self._next:
            self._next = now + TICK
            # Behind the name, which may hold anything in its brackets.
            times = _read(f"/proc/{self.pid}/stat").rpartition(b")")[2].split()[11:15]
            if times:
                self._cpu = sum(map(int, times)) / _PER_SECOND
        return self._cpu

    def peak(self, now: float) -> int:
        """The most memory it had at once, in bytes."""
        if now >= self._next_peak:
            self._next_peak = now + TICK
            _, _, behind = _read(f"/proc/{self.pid}/status").partition(b"VmHWM:")
            if behind:
                self._peak = int(behind.split(None, 1)[0]) * 1024
        return self._peak


def _read(path: str) -> bytes:
    """Nothing if the process has ended meanwhile: what was seen last counts."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


class Account:
    """What one run is charged, opened when its handler starts."""

    __slots__ = ("_began", "_cpu", "_received", "_sent", "_turns", "calls", "last_call", "lines", "shared")

    def __init__(self, usage: Usage, received: int, sent: int, shared: bool, resting: bool) -> None:
        """`resting`: the child has done nothing since the last look."""
        self._began = now = time.monotonic()
        self._cpu = usage.resting() if resting else usage.cpu(now)
        self._received = received
        self._sent = sent
        self.shared = shared
        self._turns = 0.0
        self.calls = 0
        self.last_call = ""
        self.lines = 0
        """Of the child's stderr, when the run began."""

    def turn(self, rate: float, burst: float) -> float:
        """Seconds until the next call may be served: at once for `burst` of them, then `rate` a second."""
        now = time.monotonic()
        self._turns = max(self._turns, now - burst / rate) + 1 / rate
        return max(0.0, self._turns - now)

    def spent(self, usage: Usage) -> float:
        """Seconds of processor time so far."""
        return usage.cpu(time.monotonic()) - self._cpu

    def closed(self, usage: Usage, received: int, sent: int, frame: bytes) -> bytes:
        """The receipt. `frame` is what is the same for all runs of the child."""
        now = time.monotonic()
        return b'{"wall_ms":%.2f,"cpu_ms":%d,"memory":%d,"received":%d,"sent":%d,"calls":%d,"shared":%b,%b}' % (
            (now - self._began) * 1000,
            (usage.cpu(now) - self._cpu) * 1000 + 0.5,
            usage.peak(now),
            received - self._received,
            sent - self._sent,
            self.calls,
            b"true" if self.shared else b"false",
            frame,
        )


def frame_of(bundle: BundleSpec, pid: int, start: float, code: str) -> bytes:
    """What all receipts of one child end with. `start`: seconds from the start of its process to its answer; `code`: `code_hash`."""
    text = f'"pid":{pid},"start_ms":{start * 1000:.0f},"code":"{code}","level":"{bundle.isolation}"'
    return text.encode()


def code_hash(bundle: BundleSpec) -> str:
    """Twelve hexadecimal digits that change with any handler file of a bundle."""
    root = bundle.root if bundle.root.is_dir() else bundle.root.parent
    found = sha256()
    for file in sorted(bundle.files):
        found.update(file.encode() + b"\0")
        try:
            found.update(Path(root, file).read_bytes())
        except OSError:
            continue  # gone: its name counts
    return found.hexdigest()[:12]
