"""Run as a program before a child's interpreter: gives up what the child may not have, then becomes the interpreter.

`python -I -S confine.py SETTINGS COMMAND…`. It stands alone, since it runs with nothing but the standard library, and imports little,
since each child waits for it. SETTINGS is JSON; all members may be missing:

parent       pid of the host: the child ends with it
limits       {name of resource.RLIMIT_…: value}
nice, oom    lower priority of the processor, and first to be killed when memory is short
reveal       paths that an unprivileged user has to be able to read; where it can't they are mounted for this child alone
uid          user and group to become
landlock     {"read": [paths], "write": [paths], "abi": of the kernel at least, "network": bool}: all other files are refused
seccomp      BPF program, in hexadecimal
tell         descriptor on which a failure is told before the end

Sources: prctl(2), landlock(7) and linux/landlock.h, seccomp(2), mount(2).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself would take longer to import than all of this
    from typing import Any

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
SIGKILL = 9
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND, MS_RDONLY, MS_REMOUNT = 0x20000, 0x4000, 1 << 18, 0x1000, 1, 32
MS_NOSUID, MS_NODEV = 2, 4
MOST_COPIED = 200 * 1024 * 1024
"""Bytes of a bundle that is copied for its child."""
FAILED = 78
"""Exit code of what could not be given up."""


class Failed(Exception):  # noqa: N818 - it is what happened, in words
    """A step that the kernel refused."""


def call(name: str, *args: int | bytes | None) -> int:
    """A function of the C library. Ints are C ints, bytes are pointers to them."""
    import _ctypes as c

    library = c.dlopen(None, 0)  # type: ignore[arg-type]
    result: int = c.call_function(c.dlsym(library, name), args)
    return result


def must(what: str, result: int) -> None:
    if result != 0:
        raise Failed(f"{what}: refused by the kernel")


def settings_of(text: str) -> dict[str, Any]:
    """Read JSON without `json`, whose import would take longer than all else here."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        loaded: dict[str, Any] = json.loads(text)
        return loaded

    class Settings:
        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int, parse_constant = float, int, None

    settings: Any = Settings
    read: dict[str, Any] = make_scanner(settings)(text, 0)[0]
    return read


def main() -> None:
    settings = settings_of(sys.argv[1])
    move_descriptors(os.environ.pop("JOBHOST_DESCRIPTORS", ""))
    try:
        confine(settings)
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - to become it is the purpose
    except (Failed, OSError, ValueError) as error:
        text = f"jobhost could not confine this child: {error}"
        if "tell" in settings:
            os.write(settings["tell"], text.encode())
        print(text, file=sys.stderr, flush=True)
        os._exit(FAILED)


def move_descriptors(numbers: str, first: int = 3) -> None:
    """Put descriptors on 3, 4, … in their order, to be inherited."""
    import fcntl

    high = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 64) for number in numbers.split(",") if number]
    for number in numbers.split(","):
        if number:
            os.close(int(number))
    for index, descriptor in enumerate(high):
        os.dup2(descriptor, first + index)


def confine(settings: dict[str, Any]) -> None:
    if "limits" in settings:
        import resource

        for name, value in settings["limits"].items():
            kind = getattr(resource, "RLIMIT_" + name)
            hard = resource.getrlimit(kind)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (most, most))
    if settings.get("nice"):
        os.nice(settings["nice"])
    if settings.get("oom"):
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(str(settings["oom"]))
        except OSError:
            pass  # a container without it: only who is killed first is not said then
    uid = settings.get("uid")
    import _ctypes  # noqa: F401 - now, as long as the library can be read

    if "landlock" in settings:
        import ctypes  # noqa: F401
        import struct  # noqa: F401
    if uid is not None:
        reveal(settings.get("reveal", []))
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    must("no new privileges", call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if "parent" in settings:
        must("to end with the host", call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        if os.getppid() != settings["parent"]:
            os._exit(FAILED)  # it has died meanwhile
    if "landlock" in settings:
        restrict_files(**settings["landlock"])
    if "seccomp" in settings:
        filter_calls(bytes.fromhex(settings["seccomp"]))


# Paths that another user can't reach ----------------------------------------------------------------------------------


def reachable(path: str) -> str | None:
    """None, or the first folder on the way that keeps others out."""
    at = ""
    for part in path.split("/")[1:-1]:
        at += "/" + part
        if not os.stat(at).st_mode & 1:
            return at
    return None


def readable(path: str) -> bool:
    """Whether others may read this file, or this folder with all that is in it, a few thousand entries deep."""
    mode = os.stat(path).st_mode
    if not os.path.isdir(path):
        return bool(mode & 4)
    if mode & 5 != 5:
        return False
    for count, (folder, folders, files) in enumerate(os.walk(path)):
        if count > 2000:
            break
        for name in folders:
            if os.stat(os.path.join(folder, name)).st_mode & 5 != 5:
                return False
        for name in files:
            one = os.path.join(folder, name)
            if os.path.exists(one) and not os.stat(one).st_mode & 4:
                return False
    return True


def reveal(wanted: list[tuple[str, bool, bool]]) -> None:
    """Make paths readable in a view of the file system of this child's own: bound where only the way is barred, copied else.

    `wanted`: [path, whether it may be copied, whether it may be written].
    """
    paths = sorted({os.path.realpath(path): copied for path, copied, _ in wanted}.items())
    writable = {os.path.realpath(path) for path, _, written in wanted if written}
    barred: dict[str, list[str]] = {}
    copies: set[str] = set()
    for path, copied in paths:
        door = reachable(path)
        if copied and not readable(path):
            copies.add(path)
            door = door or path
        if door is not None:
            barred.setdefault(door, []).append(path)
    if not barred:
        return
    if call("unshare", CLONE_NEWNS) != 0:
        raise Failed(
            f"{', '.join(barred)} can be read by root alone, and children run as another user; mounts for the child need "
            "CAP_SYS_ADMIN: make the folder readable for others (chmod o+rx), or set uid_range to users who may"
        )
    must("a private view of the file system", call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    for door, inside in barred.items():
        sources = {path: os.open(path, os.O_PATH) for path in inside}
        read = {path: read_tree(path) for path in inside if path in copies}
        if os.path.isdir(door):
            must(
                f"covering {door}",
                call("mount", b"tmpfs", os.fsencode(door), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0755,size=256m"),
            )
        for path in inside:
            if path in read:
                write_tree(path, read[path])
                continue
            place(path, os.path.isdir(f"/proc/self/fd/{sources[path]}"))
            source = b"/proc/self/fd/%d" % sources[path]
            must(f"showing {path}", call("mount", source, os.fsencode(path), None, MS_BIND | MS_REC, None))
            flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID
            if path not in writable:
                must(f"keeping {path} as it is", call("mount", None, os.fsencode(path), None, flags, None))
        for descriptor in sources.values():
            os.close(descriptor)


def place(path: str, folder: bool) -> None:
    os.makedirs(path if folder else os.path.dirname(path), 0o755, exist_ok=True)
    if not folder and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def read_tree(path: str) -> dict[str, bytes | str]:
    """What is in a folder, or a file, in memory: {relative path: bytes, or the target of a link}."""
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            return {"": file.read()}
    found: dict[str, bytes | str] = {}
    total = 0
    for folder, folders, files in os.walk(path):
        for name in [*files, *(one for one in folders if os.path.islink(os.path.join(folder, one)))]:
            one = os.path.join(folder, name)
            relative = os.path.relpath(one, path)
            if os.path.islink(one):
                found[relative] = os.readlink(one)
            elif os.path.isfile(one):
                with open(one, "rb") as file:
                    content = file.read()
                found[relative] = content
                total += len(content)
                if total > MOST_COPIED:
                    raise Failed(f"{path} is too large to be copied for a child: make it readable for others")
    return found


def write_tree(path: str, tree: dict[str, bytes | str]) -> None:
    for relative, content in tree.items():
        one = os.path.join(path, relative) if relative else path
        os.makedirs(os.path.dirname(one), 0o755, exist_ok=True)
        if isinstance(content, str):
            os.symlink(content, one)
        else:
            with open(one, "wb") as file:
                file.write(content)
            os.chmod(one, 0o755 if relative.endswith((".so", ".sh")) or "/bin/" in one else 0o644)
    if "" not in tree:
        os.makedirs(path, 0o755, exist_ok=True)


# Landlock -------------------------------------------------------------------------------------------------------------

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls, the same on all architectures."""
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of the interface has; later ones have those of 5."""
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
CONNECT_AND_BIND = 3
SCOPES = 3
"""Abstract Unix sockets, and signals: version 6."""


def restrict_files(read: list[str], write: list[str], abi: int, network: bool) -> None:
    import ctypes
    import struct

    syscall = ctypes.CDLL(None, use_errno=True).syscall
    there = syscall(CREATE_RULESET, None, 0, 1)
    if there < abi:
        raise Failed(f"the kernel's Landlock has version {max(there, 0)}; {abi} is needed")
    handled = (1 << RIGHTS[min(there, 5)]) - 1
    attributes = struct.pack("<Q", handled)
    if there >= 4:
        attributes += struct.pack("<Q", 0 if network else CONNECT_AND_BIND)
    if there >= 6:
        attributes += struct.pack("<Q", SCOPES)
    ruleset = syscall(CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        raise Failed(f"Landlock: {os.strerror(ctypes.get_errno())}")
    reading = EXECUTE | READ_FILE | READ_DIR
    for paths, rights in ((read, reading), (write, handled & ~EXECUTE)):
        for path in paths:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue  # what is not there can't be read either
            allowed = rights if os.path.isdir(path) else rights & OF_FILES
            rule = struct.pack("<Qi", allowed & handled, descriptor)
            if syscall(ADD_RULE, ruleset, 1, rule, 0) != 0:
                raise Failed(f"Landlock, {path}: {os.strerror(ctypes.get_errno())}")
            os.close(descriptor)
    if syscall(RESTRICT_SELF, ruleset, 0) != 0:
        raise Failed(f"Landlock: {os.strerror(ctypes.get_errno())}")
    os.close(ruleset)


def landlock_version() -> int:
    """Of the kernel's interface; 0 where there is none."""
    import ctypes

    version: int = ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, 1)
    return max(0, version)


def filter_calls(program: bytes) -> None:
    import ctypes
    import struct

    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    if library.prctl(PR_SET_SECCOMP, 2, described, 0, 0) != 0:
        raise Failed(f"seccomp: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
