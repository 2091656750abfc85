"""The system calls that code at `restricted` and `sandbox` may not make, as a classic BPF program for seccomp.

The program is built by hand, without libseccomp: load the architecture, kill what is of another one, then compare the number of the
call. Formats: `struct seccomp_data` and `struct sock_filter` of linux/seccomp.h and linux/filter.h; numbers from the kernel's syscall
tables. A refused call fails with EPERM, as it does where a kernel lacks the permission; `clone3` with ENOSYS, so that C libraries fall
back on `clone`, whose flags can be looked at.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000
"""Or'ed with the error number."""
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, ARG0, ARG1, ARG2 = 0, 4, 16, 24, 32
"""Offsets in `struct seccomp_data`; of each argument the low half, as both architectures are little-endian."""
X32 = 0x40000000
NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW{NS, CGROUP, UTS, IPC, USER, PID, NET} and NEWTIME."""
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_RAW, SOCK_PACKET, SOCK_TYPE = 3, 10, 0xF
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


@dataclass(slots=True, frozen=True)
class Machine:
    """`audit`: AUDIT_ARCH_… of linux/audit.h."""

    audit: int
    numbers: dict[str, int]


# Calls that nothing a handler does needs, by name: names that only one architecture has are in its table alone.
_X86_64 = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "process_madvise": 440, "kcmp": 312,
    "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "move_mount": 429,
    "open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67,
    "semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71,
    "mq_open": 240, "mq_unlink": 241,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 323, "bpf": 321,
    "perf_event_open": 298, "keyctl": 250, "add_key": 248, "request_key": 249,
    "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "fanotify_init": 300, "lookup_dcookie": 212,
    "swapon": 167, "swapoff": 168, "reboot": 169, "syslog": 103, "acct": 163, "quotactl": 179, "vhangup": 153,
    "sethostname": 170, "setdomainname": 171, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
    "clock_adjtime": 305, "personality": 135, "mbind": 237, "set_mempolicy": 238, "migrate_pages": 256, "move_pages": 279,
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "uselib": 134, "ustat": 136, "nfsservctl": 180,
}  # fmt: skip
_AARCH64 = {
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "process_madvise": 440, "kcmp": 272,
    "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "move_mount": 429,
    "open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197,
    "semget": 190, "semop": 193, "semctl": 191, "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187,
    "mq_open": 180, "mq_unlink": 181,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 282, "bpf": 280,
    "perf_event_open": 241, "keyctl": 219, "add_key": 217, "request_key": 218,
    "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294,
    "open_by_handle_at": 265, "name_to_handle_at": 264, "fanotify_init": 262, "lookup_dcookie": 18,
    "swapon": 224, "swapoff": 225, "reboot": 142, "syslog": 116, "acct": 89, "quotactl": 60, "vhangup": 58,
    "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171,
    "clock_adjtime": 266, "personality": 92, "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239,
    "nfsservctl": 42,
}  # fmt: skip
_LOOKED_AT = {
    "x86_64": {"socket": 41, "clone": 56, "clone3": 435, "ioctl": 16},
    "aarch64": {"socket": 198, "clone": 220, "clone3": 435, "ioctl": 29},
}
_METADATA = {
    "x86_64": (90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199),
    "aarch64": (52, 53, 452, 54, 55, 88, 5, 6, 7, 14, 15, 16),
}
"""chmod, chown, utime, setxattr and removexattr in all their forms: Landlock has no rights for what they do."""
MACHINES = {
    "x86_64": Machine(0xC000003E, _X86_64),
    "aarch64": Machine(0xC00000B7, _AARCH64),
}

Step = tuple[int, int, int, int]
"""code, jump if true, jump if false, k."""


def supported(machine: str | None = None) -> bool:
    """Whether there is a table for this machine."""
    return (machine or platform.machine()) in MACHINES


def program(network: bool = False, metadata: bool = True, machine: str | None = None) -> bytes:
    """The filter as the kernel takes it. Raises KeyError for other machines.

    `network`: sockets of the internet may be made. `metadata`: modes, owners and times of files may be changed.
    """
    name = machine or platform.machine()
    numbers = _LOOKED_AT[name]
    steps: list[Step] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, MACHINES[name].audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if name == "x86_64":
        steps += _if(AT_LEAST, X32, [(RETURN, 0, 0, KILL)])
    refused = [*MACHINES[name].numbers.values(), *(() if metadata else _METADATA[name])]
    for number in sorted(refused):
        steps += _if(EQUAL, number, [_refused(errno.EPERM)])
    steps += _if(EQUAL, numbers["clone3"], [_refused(errno.ENOSYS)])
    steps += _if(
        EQUAL, numbers["clone"], [(LOAD, 0, 0, ARG0), *_if(ANY_BIT, NEW_NAMESPACES, [_refused(errno.EPERM)]), _ALLOWED]
    )
    terminal = [step for request in (TIOCSTI, TIOCLINUX) for step in _if(EQUAL, request, [_refused(errno.EPERM)])]
    steps += _if(EQUAL, numbers["ioctl"], [(LOAD, 0, 0, ARG1), *terminal, _ALLOWED])
    steps += _if(EQUAL, numbers["socket"], _sockets(network))
    steps.append(_ALLOWED)
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


_ALLOWED: Step = (RETURN, 0, 0, ALLOW)


def _refused(number: int) -> Step:
    return (RETURN, 0, 0, REFUSE | number)


def _if(test: int, value: int, then: list[Step]) -> list[Step]:
    return [(test, 0, len(then), value), *then]


def _sockets(network: bool) -> list[Step]:
    """Pairs of sockets are another call, and allowed. A socket with a path would reach servers of the machine: none is made."""
    if not network:
        return [_refused(errno.EACCES)]
    steps: list[Step] = [(LOAD, 0, 0, ARG0)]
    # Names are resolved with the help of a netlink socket.
    families = (AF_INET, AF_INET6, AF_NETLINK)
    for index, family in enumerate(families):
        steps.append((EQUAL, len(families) - index, 0, family))
    steps.append(_refused(errno.EACCES))
    steps += [(LOAD, 0, 0, ARG0), *_if(EQUAL, AF_NETLINK, [_ALLOWED])]
    steps += [(LOAD, 0, 0, ARG1), (0x54, 0, 0, SOCK_TYPE)]
    for kind in (SOCK_RAW, SOCK_PACKET):
        steps += _if(EQUAL, kind, [_refused(errno.EACCES)])
    steps.append(_ALLOWED)
    return steps
