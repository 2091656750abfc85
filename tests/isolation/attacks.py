"""Attacks in Python, each a few lines: a function of `t`, what the test set up outside, that gives what it got or fails.

Served as one handler, `attack`; job.data names the function and holds `t`. Run with nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
_NAMES = (
    "clone",
    "ptrace",
    "pidfd_open",
    "uring",
    "add_key",
    "shmget",
    "vm_readv",
    "kcmp",
    "personality",
    "msgget",
    "bpf",
    "fsopen",
)
_NUMBERS = {
    "x86_64": (56, 101, 434, 425, 248, 29, 310, 312, 135, 68, 321, 430),
    "aarch64": (220, 117, 434, 425, 217, 194, 270, 272, 92, 186, 280, 430),
}
CALLS = dict(zip(_NAMES, _NUMBERS[os.uname().machine], strict=True))
ATTACKS: dict[str, Callable[[dict[str, Any]], Any]] = {}
AS_ROOT: set[str] = set()
"""Those that a child can only do whose user is root: they bite where the host is root and its child is plain."""


def attack(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    ATTACKS[function.__name__] = function
    return function


def root_only(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    AS_ROOT.add(function.__name__)
    return attack(function)


def syscall(name: str, *args: Any) -> int:
    """A system call that worked; raises OSError else."""
    result = int(LIBC.syscall(CALLS[name], *args))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def forked(work: Callable[[], Any]) -> bool:
    """What would change this process is done in another one."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError("refused in the fork")
    return True


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# Files --------------------------------------------------------------------------------------------------------------


@attack
def reads_a_secret(t: dict[str, Any]) -> Any:
    return open(t["secret"]).read()


@attack
def reads_a_file(t: dict[str, Any]) -> Any:
    return open(t["file"]).read()


@attack
def lists_a_folder(t: dict[str, Any]) -> Any:
    return os.listdir(t["folder"])


@attack
def reads_the_users_of_the_machine(t: dict[str, Any]) -> Any:
    return open("/etc/passwd").read(10)


@root_only
def reads_the_passwords_of_the_machine(t: dict[str, Any]) -> Any:
    return open("/etc/shadow").read(10)


@attack
def writes_a_file(t: dict[str, Any]) -> Any:
    with open(os.path.join(t["folder"], "written"), "w") as file:
        return file.write("x")


@attack
def appends_to_a_file(t: dict[str, Any]) -> Any:
    with open(t["file"], "a") as file:
        return file.write("more")


@attack
def removes_a_file(t: dict[str, Any]) -> Any:
    os.unlink(t["victim_file"])
    return True


@attack
def makes_a_file_executable_for_all(t: dict[str, Any]) -> Any:
    os.chmod(t["file"], 0o777)
    return True


@attack
def changes_its_own_code(t: dict[str, Any]) -> Any:
    with open(__file__, "a") as file:
        return file.write("\n# changed\n")


@attack
def reads_through_a_link(t: dict[str, Any]) -> Any:
    link = os.path.join(os.environ.get("TMPDIR", t["folder"]), "link")
    os.symlink(t["secret"], link)
    return open(link).read()


@attack
def reads_through_a_hard_link(t: dict[str, Any]) -> Any:
    link = os.path.join(os.environ.get("TMPDIR", t["folder"]), "hard")
    os.link(t["secret"], link)
    return open(link).read()


@root_only
def reads_through_another_process(t: dict[str, Any]) -> Any:
    return open(f"/proc/{t['victim']}/root" + t["secret"]).read()


@root_only
def reads_the_log_of_the_kernel(t: dict[str, Any]) -> Any:
    return os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK) and True


@attack
def reads_the_environment_of_the_host(t: dict[str, Any]) -> Any:
    with open(f"/proc/{t['host']}/environ", "rb") as file:
        return t["variable"].encode() in file.read()


@attack
def looks_at_another_process(t: dict[str, Any]) -> Any:
    return open(f"/proc/{t['victim']}/status").read(20)


# Network and sockets --------------------------------------------------------------------------------------------------


@attack
def connects_to_the_machine(t: dict[str, Any]) -> Any:
    socket.create_connection(("127.0.0.1", t["port"]), 2).close()
    return True


@attack
def listens(t: dict[str, Any]) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@attack
def sends_a_datagram(t: dict[str, Any]) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"out", ("127.0.0.1", t["port"]))


@attack
def connects_to_a_unix_socket(t: dict[str, Any]) -> Any:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(t["socket"])
    return True


@attack
def connects_to_an_abstract_socket(t: dict[str, Any]) -> Any:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + t["abstract"])
    return True


@root_only
def opens_a_raw_socket(t: dict[str, Any]) -> Any:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


# Other processes ------------------------------------------------------------------------------------------------------


@attack
def signals_the_host(t: dict[str, Any]) -> Any:
    os.kill(t["host"], 0)
    return True


@attack
def ends_another_process(t: dict[str, Any]) -> Any:
    os.kill(t["victim"], signal.SIGTERM)
    return True


@attack
def opens_another_process(t: dict[str, Any]) -> Any:
    return syscall("pidfd_open", t["host"], 0)


@attack
def traces_itself(t: dict[str, Any]) -> Any:
    return forked(lambda: syscall("ptrace", 0, 0, 0, 0))


@attack
def reads_memory_of_itself_as_of_another(t: dict[str, Any]) -> Any:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("@PN", ctypes.addressof(buffer), 8)
    return syscall("vm_readv", os.getpid(), vector, 1, vector, 1, 0)


# The kernel -----------------------------------------------------------------------------------------------------------


@attack
def makes_a_user_namespace(t: dict[str, Any]) -> Any:
    return forked(lambda: checked(LIBC.unshare(0x10000000)))


@attack
def clones_into_a_user_namespace(t: dict[str, Any]) -> Any:
    pid = syscall("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


@attack
def mounts(t: dict[str, Any]) -> Any:
    def work() -> None:
        checked(LIBC.unshare(0x10020000))
        checked(LIBC.mount(b"none", b"/", None, 0x44000, None))

    return forked(work)


@root_only
def changes_its_root(t: dict[str, Any]) -> Any:
    return forked(lambda: os.chroot("/"))


@root_only
def names_the_machine(t: dict[str, Any]) -> Any:
    socket.sethostname(socket.gethostname())
    return True


@attack
def makes_memory_that_is_a_file(t: dict[str, Any]) -> Any:
    return os.memfd_create("x")


@attack
def shares_memory_by_a_number(t: dict[str, Any]) -> Any:
    return syscall("shmget", 0, 4096, 0o1600) >= 0


@attack
def makes_a_queue_of_messages(t: dict[str, Any]) -> Any:
    return syscall("msgget", 0, 0o1600) >= 0


@attack
def submits_calls_by_a_ring(t: dict[str, Any]) -> Any:
    return syscall("uring", 4, ctypes.create_string_buffer(120))


@attack
def stores_a_key(t: dict[str, Any]) -> Any:
    return syscall("add_key", b"user", b"x", b"y", 1, -2)


@attack
def compares_processes(t: dict[str, Any]) -> Any:
    return syscall("kcmp", os.getpid(), os.getpid(), 1, 0, 0) >= 0


@attack
def changes_how_memory_is_laid_out(t: dict[str, Any]) -> Any:
    return syscall("personality", 0x0040000) >= 0


@root_only
def loads_a_program_into_the_kernel(t: dict[str, Any]) -> Any:
    return syscall("bpf", 0, struct.pack("<IIIII", 2, 4, 4, 1, 0) + bytes(100), 120)


@root_only
def opens_a_file_system(t: dict[str, Any]) -> Any:
    return syscall("fsopen", b"tmpfs", 0)


# Resources ------------------------------------------------------------------------------------------------------------


@attack
def opens_many_files(t: dict[str, Any]) -> Any:
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(700)]
    for one in opened:
        os.close(one)
    return len(opened)


@attack
def raises_its_limits(t: dict[str, Any]) -> Any:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
    return forked(lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(700)])


@attack
def fills_the_disk(t: dict[str, Any]) -> Any:
    folder = os.environ.get("TMPDIR", t["folder"])
    for n in range(4):
        with open(os.path.join(folder, f"large{n}"), "wb") as file:
            for _ in range(40):
                file.write(bytes(1 << 20))
            file.flush()
    for n in range(4):
        os.unlink(os.path.join(folder, f"large{n}"))
    return True


@attack
def forks_and_forks(t: dict[str, Any]) -> Any:
    pids = []
    try:
        for _ in range(100):
            pid = os.fork()
            if pid == 0:
                time.sleep(20)
                os._exit(0)
            pids.append(pid)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return len(pids)


@attack
def runs_another_program(t: dict[str, Any]) -> Any:
    """Not refused anywhere: it is as confined as its parent, and may read the secret no more."""
    cat = shutil.which("cat") or "/bin/cat"
    return subprocess.run([cat, t["secret"]], check=True, capture_output=True, text=True).stdout


def handler(job: Any, ctx: Any) -> dict[str, Any]:
    try:
        got = ATTACKS[job.data["attack"]](job.data["t"])
    except (OSError, AssertionError, ValueError, MemoryError, subprocess.SubprocessError) as error:
        return {"got": None, "held": f"{type(error).__name__}: {error}"}
    return {"got": got if isinstance(got, int | str) else bool(got)}
