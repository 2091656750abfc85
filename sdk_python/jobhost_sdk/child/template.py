"""A process that has loaded a bundle and forks ready children: `boot.py '{"lend": …, "template": {"root": …, "files": […]}}'`.

It runs no handler. Its wire is a Unix socket: first it says `+`, or `-` and why it can't be forked; then each byte that arrives
with two descriptors, the wire and the stderr of a new child, is answered with that child's pid in four bytes, least first.

A child is forked as a child of the host, not of this process (`CLONE_PARENT`, clone(2)), so that the host waits for it and is its
parent like that of any other. What must not be shared keeps a bundle from having a template: threads, which a fork does not copy,
and files and connections that it opens while it loads, which all children would use as one.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

    from ..discovery import Loaded

CLONE = {"x86_64": 56, "aarch64": 220}
"""Numbers of the system call."""
CLONE_PARENT, SIGCHLD = 0x8000, 17
PR_SET_PDEATHSIG, SIGKILL = 1, 9
PID_BYTES = 4


def serve(fd: int, load: Callable[[], Loaded]) -> tuple[int, Loaded | None]:
    """Load, then fork as often as the host asks. Returns in each child, with its wire and what was loaded; None: its own load is
    to say what is wrong."""
    import _socket

    host = os.getppid()
    wire = _socket.socket(fileno=fd)
    wire.setblocking(True)
    before = _descriptors()
    try:
        loaded: Loaded | None = load()
        if loaded is not None and loaded.needs_loop:
            from . import looping  # noqa: F401 - the children need it
    except BaseException:  # noqa: BLE001 - the author's code; each child meets it again, and says so
        loaded = None
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or every child would say it again
    try:
        fork = _forker()
        hindrance = _hindrance(before)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        hindrance = f"this Python can't: {error}"
    if hindrance is not None:
        wire.sendall(b"-" + hindrance.encode(errors="replace")[:1000])
        os._exit(0)
    gc.collect()
    gc.freeze()  # pages that no collection touches stay shared
    wire.sendall(b"+")
    while True:
        asked, control, _, _ = wire.recvmsg(1, _socket.CMSG_LEN(8))
        if not asked:
            os._exit(0)  # the host is done
        given = [int.from_bytes(data[at : at + 4], sys.byteorder) for _, _, data in control for at in (0, 4)]
        pid = fork()
        if pid == 0:
            wire.detach()
            os.close(fd)
            return become(host, *given), loaded
        for descriptor in given:
            os.close(descriptor)
        wire.sendall(pid.to_bytes(PID_BYTES, "little"))


def become(host: int, wire: int, err: int) -> int:
    """Be a child like any other: a session of its own, its stderr, its end with the host. Gives its wire."""
    import fcntl

    os.setsid()
    os.dup2(err, 1)
    os.dup2(err, 2)
    os.close(err)
    moved = fcntl.fcntl(wire, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(wire)
    _prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != host:
        os._exit(1)
    return moved


def leave() -> NoReturn:
    """End a forked child: what `sys.exit` does, but for taking all of Python apart, which would copy every shared page."""
    import atexit

    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # closed, or nobody reads it any more
    os._exit(0)


def _forker() -> Callable[[], int]:
    """`os.fork`, but for whose child it makes."""
    import ctypes

    number = CLONE.get(os.uname().machine)
    if number is None:
        raise ValueError(f"the system call is not known for {os.uname().machine}")
    python = ctypes.pythonapi  # keeps the interpreter's lock, as what surrounds a fork has to
    syscall = ctypes.PyDLL(None).syscall
    syscall.restype = ctypes.c_long
    flags = ctypes.c_ulong(CLONE_PARENT | SIGCHLD)
    none = ctypes.c_void_p(None)
    before, parent, child = python.PyOS_BeforeFork, python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child
    for each in (before, parent, child):
        each.restype = None

    def fork() -> int:
        before()
        pid: int = syscall(number, flags, none, none, none, none)
        if pid == 0:
            child()
            return 0
        parent()
        if pid < 0:
            raise OSError("clone failed")
        return pid

    return fork


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.PyDLL(None).prctl(option, value, 0, 0, 0)


def _descriptors() -> dict[int, str]:
    """What is open, by its number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # that of the listing itself
    return found


def _hindrance(before: dict[int, str]) -> str | None:
    """Why this process can't be forked; None if it can."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"it starts threads while it loads ({threads - 1})"
    kept = sorted(set(_descriptors().items()) - set(before.items()))
    return f"it keeps {kept[0][1]} open, from its loading on" if kept else None
