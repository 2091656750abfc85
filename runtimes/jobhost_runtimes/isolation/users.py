"""Users of their own for children, where the host is root: one for each child that lives, so that none reaches another."""

from __future__ import annotations

import os
import threading

from ..errors import ChildStartError

FIRST, LAST = 61_184, 65_519
"""Where no range is set: the one that systemd's dynamic users are of, which no packaged user has."""


class Users:
    """Gives out numbers. Used from the host's loop, and from threads of tests."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()

    def take(self, given: tuple[int, int] | None) -> int:
        """The next free one of a range. Several hosts begin at different places of it. Raises ChildStartError if none is free."""
        first, last = given or (FIRST, LAST)
        count = last - first + 1
        with self._lock:
            for step in range(count):
                uid = first + (os.getpid() * 37 + self._next + step) % count
                if uid not in self._taken and not _in_use(uid):
                    self._next += step + 1
                    self._taken.add(uid)
                    return uid
        raise ChildStartError(f"all {count} users of uid_range are in use: widen it")

    def release(self, uid: int) -> None:
        with self._lock:
            self._taken.discard(uid)


def _in_use(uid: int) -> bool:
    """Whether somebody else's processes are this user's: another host's children may be."""
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return False  # there is no /proc
    return any(_owner(name) == uid for name in names)


def _owner(process: str) -> int | None:
    try:
        return os.stat(f"/proc/{process}").st_uid
    except OSError:
        return None  # it ended meanwhile


users = Users()
