"""An operating system process as a child: started with a clean environment, watched for its end, stopped by a ladder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .bundle import BundleSpec
from .errors import ChildStartError
from .isolation.cgroups import Group, group_for
from .isolation.users import users
from .languages import MOVE_VARIABLE, Launch
from .receipts import code_hash
from .strays import Stray, descendants, end_orphans, end_user

ALWAYS_PASSED = ("PATH", "LANG", "TZ")
"""Host variables every child sees. All else must be listed by the bundle: secrets live in the environment."""
PIPE_SIZE = 1024 * 1024
TERM_TO_KILL = 0.5
"""Seconds between SIGTERM and SIGKILL."""
_living: set[int] = set()
"""Children of this process that were started here."""
_coming: set[object] = set()
"""Starts whose process may be there before its number is known here: until then no orphan can be told from it."""


def is_living(pid: int) -> bool:
    """Whether a child of this number was started here and has not been reaped."""
    return pid in _living


@contextlib.contextmanager
def coming() -> Iterator[None]:
    """While another process makes a child for this one."""
    mark = object()
    _coming.add(mark)
    try:
        yield
    finally:
        _coming.discard(mark)


def child_environment(names: Iterable[str], host: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: what it needs and what its bundle lists, nothing else."""
    source = os.environ if host is None else host
    wanted = [*ALWAYS_PASSED, *names]
    return {name: source[name] for name in wanted if name in source}


Wire = socket.socket | tuple[int, int]
"""The host's end: a socket, or a pair (descriptor to read, descriptor to write)."""


@dataclass(slots=True)
class Started:
    """A process that was just started. `wait` reaps it and gives its return code (negative: the signal) once it has ended.

    `stderr` is a descriptor to read, `code` a hash of the code it has loaded or will load.
    """

    pid: int
    wire: Wire
    stderr: int
    wait: Callable[[], int]
    launch: Launch
    code: str

    def __post_init__(self) -> None:
        _living.add(self.pid)


def start(launch: Launch, bundle: BundleSpec) -> Started:
    """Start the command of a child. Raises ChildStartError."""
    environment = child_environment(bundle.env) | launch.env
    cwd = bundle.root if bundle.root.is_dir() else bundle.root.parent
    stderr, err = os.pipe()
    try:
        popen, wire = _spawn(launch, environment, cwd, err)
    except OSError as error:
        os.close(stderr)
        clear_away(launch)
        raise ChildStartError(f"cannot start {launch.argv[0]}: {error.strerror or error}") from error
    finally:
        os.close(err)
    limit_from_outside(popen.pid, launch)
    return Started(popen.pid, wire, stderr, popen.wait, launch, code_hash(bundle))


def _spawn(launch: Launch, env: dict[str, str], cwd: Path, err: int) -> tuple[subprocess.Popen[bytes], Wire]:
    passed: list[int] = []
    wire: Wire
    if launch.pipes:
        child_reads, we_write = _large_pipe()
        we_read, child_writes = _large_pipe()
        passed += (child_reads, child_writes)
        wire = (we_read, we_write)
        stdin, stdout = subprocess.DEVNULL, err
    else:
        wire, theirs = socket.socketpair()
        wire.setblocking(False)
        stdin = stdout = theirs.fileno()
    if launch.filter is not None:
        passed.append(readable(launch.filter))
    # Where they will be for the interpreter.
    numbers = range(3, 3 + len(passed)) if launch.moves else passed
    argv = launch.argv
    if launch.moves:
        env = env | {MOVE_VARIABLE: ",".join(map(str, passed))}
    if launch.pipes:
        env = env | {"JOBHOST_RPC_FD": f"{numbers[0]},{numbers[1]}"}
    if launch.filter is not None:
        argv = [*argv, "--seccomp", str(numbers[-1])]
    if launch.inside:
        argv = [*argv, "--", *launch.inside]
    try:
        popen = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=err, env=env, cwd=cwd, pass_fds=passed, start_new_session=True
        )
    except OSError:
        close_wire(wire)
        raise
    finally:
        for descriptor in passed:
            os.close(descriptor)
        if not launch.pipes:
            theirs.close()
    return popen, wire


def close_wire(wire: Wire) -> None:
    if isinstance(wire, tuple):
        for descriptor in wire:
            os.close(descriptor)
    else:
        wire.close()


def clear_away(launch: Launch) -> None:
    """Give back what its level lent it."""
    if launch.uid is not None:
        end_user(launch.uid)
        users.release(launch.uid)
    if launch.private is not None:
        shutil.rmtree(launch.private, ignore_errors=True)


class Process:
    """A started child process. `on_exit` is called on the loop with the return code (negative: the signal) when it has ended."""

    def __init__(self, started: Started, on_exit: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._launch = started.launch
        self._reap = started.wait
        self._exited = asyncio.Event()
        self.returncode: int | None = None
        self.pid = started.pid
        self.wire = started.wire
        self.stderr = started.stderr
        self._group: Group | None = None
        self._whole = True
        self.exceeded: tuple[int, int] | None = None
        """Bytes of memory its tree had at most, and might have, once the kernel has killed something in it for that."""
        self._watch()

    def hold(self, memory: int | None, processes: int | None, on_memory: Callable[[int, int], None]) -> None:
        """Have the kernel hold its whole tree to limits, where it does that for this process. It has run nothing of its bundle yet.

        `on_memory` gets what was used and what was allowed once something in it was killed for that.
        """
        group = group_for(memory, processes)
        if group is None:
            return
        self._group = group
        try:
            group.add([self.pid])
        except OSError:
            self._group = None
            group.remove()
            return
        if group.bell is not None:
            self._loop.add_reader(group.bell, self._rung, on_memory)

    def _rung(self, on_memory: Callable[[int, int], None]) -> None:
        assert self._group is not None
        assert self._group.bell is not None
        assert self._group.memory is not None
        self._loop.remove_reader(self._group.bell)
        self._group.rung = True
        self.exceeded = (max(self._group.peak, self._group.memory), self._group.memory)
        on_memory(*self.exceeded)

    def hold_all(self) -> None:
        """Take in what was started between its own start and `hold`: what stands before the interpreter, and that."""
        if self._group is not None and self._launch.depth:
            try:
                self._group.add(descendants(self.pid))
            except OSError:
                self._whole = False

    def yield_processor(self) -> None:
        """Make its priority count. Where the kernel groups processes by session, a nice value is weighed within its group alone, and each
        child has a session of its own: then it is the group's that has to be lower (sched(7), "The autogroup feature")."""
        pid = self.interpreter
        try:
            nice = os.getpriority(os.PRIO_PROCESS, pid)
            with open(f"/proc/{pid}/autogroup", "w") as file:
                file.write(str(nice))
        except OSError:
            return  # no such groups; or, for a host that is not root, too soon after the last one

    @property
    def held(self) -> bool:
        """The kernel watches the memory of its whole tree."""
        return self._whole and self._group is not None and self._group.memory is not None

    def _let_go(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            if group.bell is not None:
                self._loop.remove_reader(group.bell)
            if group.memory is not None and group.exceeded:
                self.exceeded = (max(group.peak, group.memory), group.memory)
            group.kill()
            group.give_back()

    def close_wire(self) -> None:
        """Close the host's end, which nobody has taken over."""
        close_wire(self.wire)

    # Its end ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(self.pid)
            except OSError:  # a kernel or sandbox without it
                pass
            else:
                self._loop.add_reader(self._pidfd, self._pidfd_ready)
                return
        threading.Thread(target=self._wait_in_thread, name=f"wait-{self.pid}", daemon=True).start()

    def _pidfd_ready(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended()

    def _wait_in_thread(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        code = self._reap()
        # Of a signal inside, what stands before the interpreter makes 128 and its number, as a shell does.
        self.returncode = 128 - code if self._launch.depth and 128 < code < 128 + signal.NSIG else code
        _living.discard(self.pid)
        if not _coming:
            end_orphans(_living)
        self._let_go()
        clear_away(self._launch)
        self._exited.set()
        self._on_exit(self.returncode)

    async def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; True if it has ended."""
        if not self._exited.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._exited.wait()
            except TimeoutError:
                return False
        return True

    # Stopping it --------------------------------------------------------------------------------------------------

    async def terminate(self) -> None:
        """SIGTERM to its group, half a second, SIGKILL to the whole tree, and reap. Returns when it is gone."""
        # Taken now: once the child has died of SIGTERM, nothing tells any more what was below it in other groups.
        strays = [Stray(pid) for pid in descendants(self.pid)] if self.returncode is None else []
        if self.returncode is None:
            self.signal_group(signal.SIGTERM)
            await self.wait(TERM_TO_KILL)
        await self.kill()
        for stray in strays:
            stray.kill()

    async def kill(self) -> None:
        """SIGKILL to the whole tree, also what outlived the child in its group, and reap."""
        self.kill_tree()
        await self._exited.wait()

    def kill_tree(self) -> None:
        """Kill the group and every descendant that can be found, those that left the group included."""
        strays = [Stray(pid) for pid in descendants(self.pid)] if self.returncode is None else []
        self.signal_group(signal.SIGKILL)
        for stray in strays:
            stray.kill()
        if self._group is not None:
            self._group.kill()

    def signal_group(self, number: signal.Signals) -> None:
        try:
            # The group outlives its leader, and its number is not given away while a member lives.
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # nobody is left in it; macOS says EPERM for zombies

    @property
    def interpreter(self) -> int:
        """The process that runs handlers: the child itself, or what runs in its sandbox; 0 if that is gone."""
        if not self._launch.depth:
            return self.pid
        below = descendants(self.pid)
        return below[self._launch.depth - 1] if len(below) >= self._launch.depth else 0

    def signal(self, number: signal.Signals) -> None:
        """Signal the interpreter alone: the child itself, or what runs in its sandbox."""
        if self.returncode is not None:
            return
        if not self._launch.depth:
            os.kill(self.pid, number)  # it is not reaped yet: the number is its own
        elif found := self.interpreter:
            Stray(found).signal(number)


def _large_pipe() -> tuple[int, int]:
    read, write = os.pipe()
    try:
        import fcntl

        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except (AttributeError, OSError):
        pass  # not Linux, or over the user's limit for pipes: smaller is only slower
    return read, write


def limit_from_outside(pid: int, launch: Launch) -> None:
    """Set what a launch leaves to the host; the child has run nothing of its bundle yet: that waits for `initialize`."""
    try:
        for name, value in launch.limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(kind)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, kind, (most, most))
        if launch.nice:
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + launch.nice)
        if launch.oom:
            with open(f"/proc/{pid}/oom_score_adj", "w") as file:
                file.write(str(launch.oom))
    except (AttributeError, OSError):
        return  # not Linux, a container without it, or it has ended already: its end says so


def readable(content: bytes) -> int:
    """A descriptor from which this can be read once."""
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    return read
