"""Processes below children, and what is left of them: found in /proc, and killed so that no number can mean another by then."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
_adopting = False
_ended: set[int] = set()
"""Orphans that were killed and are to be reaped."""


class Stray:
    """A process below a child, held so that its number can't have become another process's by the time it is killed."""

    def __init__(self, pid: int) -> None:
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            pass  # it has ended, or the system has no such thing: then the group's signals have to do

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send one signal, the only one."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass  # it died with the group
            os.close(self._pidfd)
            self._pidfd = -1


def descendants(pid: int) -> list[int]:
    """Processes below `pid` as the kernel lists them now, nearest first; empty where there is no /proc."""
    found: list[int] = []
    queue = [pid]
    while queue:
        children = _children(queue.pop(0))
        found += children
        queue += children
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found  # it ended meanwhile, or there is no /proc
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            continue
    return found


def adopt_orphans() -> bool:
    """Become the parent of all processes whose own parent dies, so that `end_orphans` finds them. False if the system can't."""
    global _adopting
    try:
        _adopting = bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except AttributeError:  # not Linux
        return False
    return _adopting


def close_memory() -> None:
    """Keep other processes of this user out of this one's memory and environment, and make it leave no core dump."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    except AttributeError:  # not Linux
        return


def end_orphans(known: Collection[int]) -> None:
    """Kill what came to this process from dead children, with all below it. `known`: children of its own.

    What is in this process's own session is its own too: only what has left it counts, as a child does with its first step.
    """
    if not _adopting:
        return
    mine = os.getsid(0)
    for pid in _children(os.getpid()):
        try:
            if pid in known or os.getsid(pid) == mine:
                continue
        except ProcessLookupError:
            continue
        for stray in [Stray(pid), *map(Stray, descendants(pid))]:
            stray.kill()
        _ended.add(pid)
    for pid in list(_ended):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _ended.discard(pid)
        except ChildProcessError:
            _ended.discard(pid)


def end_user(uid: int) -> None:
    """Kill every process of a user that was one child's alone, daemons included, until none is left."""
    for _ in range(100):
        found = [pid for pid in _processes() if _is_of(pid, uid)]
        if not found:
            return
        for stray in map(Stray, found):
            stray.kill()


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _is_of(pid: int, uid: int) -> bool:
    """Whether it lives and is the user's; one that hides its owner from `stat` tells it in `status`."""
    try:
        if os.stat(f"/proc/{pid}").st_uid not in (uid, 0):
            return False
        with open(f"/proc/{pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return False
    return str(uid) in lines["Uid"].split() and not lines["State"].strip().startswith("Z")
