"""Run as a program where a child would be, at its real level: tries what the level says it keeps, and prints what it got as JSON.

`python -I -S probe.py SETTINGS`. SETTINGS: `pid`, `variable`, `secret`, `file`, `folder`, `port` and `socket` of the host, to be reached
for. Each answer is true if it was kept from this process. Harmless: signals sent are number 0, files made are removed.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS = 21, 39
CLONE_NEWUSER = 0x10000000
CAPGET = {"x86_64": 125, "aarch64": 90}
LIBC = ctypes.CDLL(None, use_errno=True)


def kept(attempt: Callable[[], object]) -> bool:
    """Whether an attempt fails."""
    try:
        attempt()
    except OSError:
        return True
    return False


def fails(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def connect(family: int, address: Any) -> None:
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect(address)


def write_to(folder: str) -> None:
    path = os.path.join(folder, f"probe-{os.getpid()}")
    with open(path, "w"):
        pass
    os.unlink(path)


def in_a_fork(attempt: Callable[[], object]) -> bool:
    """Whether an attempt that would change this process fails."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if kept(attempt) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def has_capabilities() -> bool:
    header, data = struct.pack("<Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    fails(LIBC.syscall(CAPGET[os.uname().machine], header, data))
    effective, permitted, _, high, _, _ = struct.unpack("<6I", data.raw)
    return bool(effective or permitted or high)


def ptrace_me() -> None:
    fails(LIBC.ptrace(0, 0, 0, 0))


def main() -> None:
    s = json.loads(sys.argv[1])
    sys.stdin.readline()  # what is set from outside is set by then
    private = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - tried, not used
    found = {
        "environment": s["variable"] not in os.environ,
        "no_new_privileges": LIBC.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        "no_core_dumps": resource.getrlimit(resource.RLIMIT_CORE)[1] == 0,
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= s["open_files"],
        "not_root": os.getuid() != 0 and os.geteuid() != 0,
        "no_capabilities": not has_capabilities(),
        "secrets": kept(lambda: open(s["secret"]).close()),
        "files": kept(lambda: open(s["file"]).close()),
        "permissions": kept(lambda: os.chmod(s["file"], 0o644)),
        "writing": kept(lambda: write_to(s["folder"])),
        "network": kept(lambda: connect(socket.AF_INET, ("127.0.0.1", s["port"]))),
        "unix_sockets": kept(lambda: connect(socket.AF_UNIX, s["socket"])),
        "signals": kept(lambda: os.kill(s["pid"], 0)),
        "processes_of_others": kept(lambda: os.listdir(f"/proc/{s['pid']}")),
        "system_calls": LIBC.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2,
        "namespaces": in_a_fork(lambda: fails(LIBC.unshare(CLONE_NEWUSER))),
        "debugging": in_a_fork(ptrace_me),
        "own_process_tree": os.getpid() < 10,
        "private_folder": not kept(lambda: write_to(private))
        and os.path.realpath(private) != os.path.realpath(s["folder"]),
        "number_of_processes": resource.getrlimit(resource.RLIMIT_NPROC)[1] <= s["processes"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
