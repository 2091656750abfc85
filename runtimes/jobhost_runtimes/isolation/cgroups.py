"""Control groups: where this process may make some, the kernel itself holds a child's whole tree to its memory.

Version 2 below a group that was delegated to this process (systemd's `Delegate=yes`), version 1 as root; elsewhere there are none, and
`memory.Watch` looks instead. Sources: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, systemd.resource-control(5).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

PREFIX = "jobhost-"
ROUNDS = 200
"""Looks for what lives on in a group that is killed."""
BACKSTOP = 16
"""Threads and processes the kernel allows for each process a child may have: it stops what grows faster than anybody looks."""
_numbers = count(1)
_spare: dict[tuple[int | None, int | None], list[Group]] = {}
"""Empty groups by what they allow: to make one, and to remove it, takes longer than all else about them."""
_full: list[Group] = []
"""Groups whose last process has not quite gone."""
MOST_SPARE = 64


@dataclass(slots=True, frozen=True)
class Files:
    """How a version names things. `folders`: of the hierarchies a child has to be in, that of memory first."""

    version: int
    folders: tuple[Path, ...]
    limit: str
    peak: str
    events: str
    also: tuple[tuple[str, str], ...] = ()
    """Further files to write, with `%d` for the limit; not everywhere there."""


class Group:
    """One child's."""

    def __init__(self, files: Files, memory: int | None, processes: int | None) -> None:
        """Raises OSError. `memory` in bytes."""
        self._files = files
        self.memory = memory
        self._allows = (memory, processes)
        self.bell: int | None = None
        """A descriptor that can be read once the kernel kills in it for its memory. Version 2 has none: all of it dies then."""
        self._leaving = False
        self.rung = False
        """The bell was heard; the kernel may not have killed yet."""
        name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self._folders = [folder / name for folder in files.folders]
        try:
            for folder in self._folders:
                folder.mkdir(exist_ok=True)
            if memory is not None:
                _write(self._folders[0] / files.limit, str(memory))
                for file, value in files.also:
                    if (self._folders[0] / file).exists():
                        _write(self._folders[0] / file, value.replace("%d", str(memory)))
            if processes is not None:
                _write(self._folders[-1] / "pids.max", str(processes * BACKSTOP))
            if memory is not None and files.version == 1:
                self._hang_bell()
        except OSError:
            self.remove()
            raise

    def add(self, pids: Iterable[int]) -> None:
        """Take processes in; those that they start from then on are in it too. Raises OSError, but not for one that has ended."""
        for pid in pids:
            for folder in self._folders:
                try:
                    _write(folder / "cgroup.procs", str(pid))
                except ProcessLookupError:
                    continue

    def _hang_bell(self) -> None:
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        with open(self._folders[0] / self._files.events) as events:
            _write(self._folders[0] / "cgroup.event_control", f"{self.bell} {events.fileno()}")

    @property
    def exceeded(self) -> bool:
        """The kernel has killed something in it for its memory, or is about to."""
        if self.rung:
            return True
        found = _read(self._folders[0] / self._files.events).split()
        return "oom_kill" in found and int(found[found.index("oom_kill") + 1]) > 0

    @property
    def peak(self) -> int:
        """The most memory it had at once, in bytes; 0 if the kernel does not tell."""
        return int(_read(self._folders[0] / self._files.peak).strip() or 0)

    def kill(self) -> None:
        """Kill all that is in it, whatever it forks meanwhile: what has been sent SIGKILL forks no more. They end in their own time."""
        seen: set[str] = set()
        for _ in range(ROUNDS):
            new = set(_read(self._folders[-1] / "cgroup.procs").split()) - seen
            if not new:
                return
            for pid in new:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            seen |= new

    def give_back(self) -> None:
        """Its child has ended: the next one of the same limits gets it once it is empty."""
        _full.append(self)
        _full[:] = [group for group in _full if not group._kept()]

    def _kept(self) -> bool:
        """Keep it for another child, or remove it; false while that has to wait."""
        spare = _spare.setdefault(self._allows, [])
        if self.bell is not None and not self.rung:
            try:
                # It may have rung when nobody listened any more: the next child would hear it.
                self.rung = os.eventfd_read(self.bell) > 0
            except BlockingIOError:
                pass  # it has not
        if self._leaving or self.exceeded or len(spare) >= MOST_SPARE:
            return self.remove()
        if _read(self._folders[-1] / "cgroup.procs"):
            return False
        spare.append(self)
        return True

    def remove(self) -> bool:
        """Give it back to the kernel; false while something in it is still ending."""
        self._leaving = True
        if self.bell is not None:
            os.close(self.bell)
            self.bell = None
        return self._removed()

    def _removed(self) -> bool:
        for folder in self._folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


def group_for(memory: int | None, processes: int | None) -> Group | None:
    """A group for a child with these limits; None where the kernel keeps none for this process."""
    files = found()
    if files is None:
        return None
    if spare := _spare.get((memory, processes)):
        return spare.pop()
    try:
        return Group(files, memory, processes)
    except OSError:
        return None


@cache
def found() -> Files | None:
    """Where groups can be made, and how; None where they can't. What hosts that have died have left is removed."""
    for look in (_delegated, _first_version):
        files = look()
        if files is not None:
            for folder in files.folders:
                _tidy(folder)
            return files
    return None


def remove_spares() -> None:
    """At the end of a host: what is still full is removed with a later group, or by the next host."""
    leaving = [*(group for groups in _spare.values() for group in groups), *_full]
    _spare.clear()
    _full[:] = [group for group in leaving if not group.remove()]


def available() -> int | None:
    """The version of the groups that can be made here; None if none can. Changes nothing."""
    return 2 if _delegated_folder() is not None else 1 if _first_version() is not None else None


def _delegated_folder() -> Path | None:
    """The group of this process in version 2, if it says that it is ours to divide."""
    own, mounts = _membership(""), list(_mounts("cgroup2"))
    if own is None or not mounts:
        return None
    folder = mounts[0][0] / own.lstrip("/")
    try:
        ours = any(os.getxattr(folder, name) == b"1" for name in _marks(folder))
    except OSError:
        return None
    return folder if ours and {"memory", "pids"} <= set(_read(folder / "cgroup.controllers").split()) else None


def _delegated() -> Files | None:
    """Version 2. This process moves into a group of its own within the one it is in, since processes and limits can't be in one and
    the same; where others are in it too it moves back."""
    folder = _delegated_folder()
    if folder is None:
        return None
    host = folder / f"{PREFIX}{os.getpid()}-host"
    try:
        host.mkdir(exist_ok=True)
        _write(host / "cgroup.procs", str(os.getpid()))
        try:
            _write(folder / "cgroup.subtree_control", "+memory +pids")
        except OSError:
            _write(folder / "cgroup.procs", str(os.getpid()))
            host.rmdir()
            return None
    except OSError:
        return None
    more = (("memory.swap.max", "0"), ("memory.oom.group", "1"))
    return Files(2, (folder,), "memory.max", "memory.peak", "memory.events", more)


def _marks(folder: Path) -> list[str]:
    return [name for name in os.listxattr(folder) if name in ("trusted.delegate", "user.delegate")]


def _first_version() -> Files | None:
    folders = []
    for controller in ("memory", "pids"):
        own = _membership(controller)
        places = [point for point, options in _mounts("cgroup") if controller in options]
        if own is None or not places:
            return None
        folder = places[0] / own.lstrip("/")
        if not (os.geteuid() == 0 and os.access(folder, os.W_OK) and (folder / "cgroup.procs").exists()):
            return None
        folders.append(folder)
    swap = (("memory.memsw.limit_in_bytes", "%d"),)
    return Files(1, tuple(folders), "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control", swap)


def _membership(controller: str) -> str | None:
    """The group of this process in a controller's hierarchy; version 2's is the one without a name."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _mounts(kind: str) -> Iterator[tuple[Path, list[str]]]:
    for line in _read(Path("/proc/self/mounts")).splitlines():
        _, point, type, options = line.split()[:4]
        if type == kind:
            yield Path(point), options.split(",")


def _tidy(folder: Path) -> None:
    for one in folder.glob(f"{PREFIX}*-*"):
        pid = one.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            try:
                one.rmdir()
            except OSError:
                continue  # somebody lives in it


def _read(file: Path) -> str:
    """Nothing if it is not there."""
    try:
        return file.read_text()
    except OSError:
        return ""


def _write(file: Path, text: str) -> None:
    with open(file, "w") as opened:
        opened.write(text)
