"""Children of a bundle whose every run gets one of its own, forked from a process that has loaded the bundle already.

A fork is ready in a millisecond and shares the memory of what was loaded, where an interpreter takes twenty to boot and holds all of it
again. At level `process` only, and without users of their own: at the others children are kept from each other, and forks of one
sandbox would be inside it together. How the template works, and what keeps a bundle from having one: `jobhost_sdk/child/template.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace

from .bundle import BundleSpec
from .errors import ChildStartError
from .isolation import confined
from .languages import Launch
from .process import Process, Started, coming, is_living, start
from .stderr import StderrReader

PID_BYTES = 4
HELLO = 4096
LAST_LINES = 0.2
"""Seconds for what it said last to be read."""


def may_have_template(bundle: BundleSpec) -> bool:
    """Whether forks of one process promise what the bundle asks for."""
    return (
        bundle.pool.fresh and bundle.language == "python" and bundle.isolation == "process" and bundle.uid_range is None
    )


class Template:
    """Starts a bundle's children: by forks of one process, or one by one where that can't be."""

    def __init__(self, bundle: BundleSpec, on_line: Callable[[int, str], None]) -> None:
        """`on_line` gets a pid and a line of stderr from the loading of the bundle, or why it can't be forked."""
        self._bundle = bundle
        self._on_line = on_line
        self._process: Process | None = None
        self._wire: socket.socket | None = None
        self._stderr: StderrReader | None = None
        self._code = ""
        self._turn = asyncio.Lock()
        self._stopping = False
        self._making: set[asyncio.Task[Started]] = set()
        self._refused = not may_have_template(bundle)

    @property
    def pid(self) -> int | None:
        """Of the process that is forked; None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> Started:
        """One more child. Raises ChildStartError."""
        if self._refused:
            return start(confined(self._bundle), self._bundle)
        # Whoever asks may give up meanwhile; the child is made all the same, and somebody has to wait for its end.
        making = asyncio.get_running_loop().create_task(self._made())
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_unwanted)
            raise

    async def _made(self) -> Started:
        async with self._turn:
            if self._stopping:
                raise ChildStartError("its host stops it")
            if self._process is None:
                await self._open()
            if self._wire is not None:
                return await self._fork(self._wire)
        return start(confined(self._bundle), self._bundle)

    async def stop(self) -> None:
        """End the process that is forked; what it was asked for comes to nothing. The next `start` begins with the bundle as it is then."""
        self._stopping = True
        try:
            if self._process is not None:
                await self._process.kill()
            await asyncio.gather(*self._making, return_exceptions=True)
        finally:
            self._stopping = False
        if self._stderr is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_LINES):
                    await self._stderr.ended.wait()
            self._stderr.close()  # what its bundle has started may hold the pipe

    async def _open(self) -> None:
        launch = confined(self._bundle)
        settings = json.loads(launch.argv[-1])
        root = self._bundle.root if self._bundle.root.is_dir() else self._bundle.root.parent
        settings["template"] = {"root": str(root), "files": self._bundle.files}
        started = start(replace(launch, argv=[*launch.argv[:-1], json.dumps(settings)]), self._bundle)
        self._code = started.code
        process = self._process = Process(started, self._ended)
        assert isinstance(started.wire, socket.socket)
        self._wire = started.wire
        self._stderr = StderrReader(lambda text: self._on_line(process.pid, text))
        await self._stderr.open(started.stderr)
        hello = b""
        try:
            hello = await asyncio.get_running_loop().sock_recv(started.wire, HELLO)
        except OSError:
            pass
        if hello == b"+":
            return
        await self._close()
        if not hello:
            raise ChildStartError(
                f"the template of bundle {self._bundle.name} ended while it loaded{self._last_words()}"
            )
        self._refused = True
        reason = hello[1:].decode(errors="replace")
        self._on_line(
            process.pid,
            f"each run's process starts from nothing, in twenty times the time: the bundle can't be forked: {reason}",
        )

    async def _fork(self, wire: socket.socket) -> Started:
        ours, theirs = socket.socketpair()
        stderr, err = os.pipe()
        try:
            with theirs, coming():
                socket.send_fds(wire, [b"f"], [theirs.fileno(), err])
                pid = int.from_bytes(await _exactly(wire, PID_BYTES), "little")
                # The bundle's code has run in there: what it says is not simply waited for, and killed later.
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # noqa: ASYNC222 - it does not wait
                if is_living(pid):
                    raise ChildProcessError(f"process {pid} is another child")
        except (OSError, EOFError) as error:
            ours.close()
            os.close(stderr)
            await self._close()
            raise ChildStartError(
                f"the template of bundle {self._bundle.name} did not give a child: {error or 'it has died'}{self._last_words()}"
            ) from error
        finally:
            os.close(err)
        ours.setblocking(False)
        return Started(
            pid,
            ours,
            stderr,
            lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
            Launch([], False, {}),
            self._code,
        )

    def _last_words(self) -> str:
        tail = "" if self._stderr is None else self._stderr.tail()
        return f"; its last lines of stderr:\n{tail}" if tail else ""

    def _ended(self, _returncode: int) -> None:
        if not self._turn.locked():  # else whoever asks it learns of it
            self._forget()

    async def _close(self) -> None:
        if self._process is not None:
            await self._process.kill()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None


def _unwanted(making: asyncio.Task[Started]) -> None:
    """A child that nobody waits for any more."""
    if not making.cancelled() and making.exception() is None:
        process = Process(making.result(), lambda _returncode: None)
        process.close_wire()
        os.close(process.stderr)
        process.kill_tree()


async def _exactly(wire: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(wire, count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
