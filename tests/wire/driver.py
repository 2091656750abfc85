"""The host's side of one Python child, small and blocking: for tests of the child alone.

It answers the calls of `ctx` from a dict, keeps what else arrives, and waits for nothing longer than PATIENCE.
"""

from __future__ import annotations

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import coverage
import fastjsonschema
import jobhost_sdk
import msgpack
from jobhost_sdk.errors import ProtocolError
from jobhost_sdk.wire import Notification, Peer, Request, Response

PATIENCE = 30.0
"""Seconds within which anything must have happened, on a slow and busy machine."""

SDK = pathlib.Path(jobhost_sdk.__file__).parent
LEND = {
    "msgpack": str(pathlib.Path(msgpack.__file__).parent),
    "fastjsonschema": str(pathlib.Path(fastjsonschema.__file__).parent),
}
COVERED = pathlib.Path(__file__).with_name("covered.py")
PYENV = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def interpreter(version: str) -> str | None:
    """The interpreter of a minor version on this machine, or None."""
    if version == "{}.{}".format(*sys.version_info[:2]):
        return sys.executable
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    return str(found[0]) if found and os.access(found[0], os.X_OK) else None


class Hangup(Exception):
    """The child closed its wire."""


class Side:
    """One end of a wire to a child that is a process or a thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.peer: Peer[str] = Peer()
        self.state: dict[str, bytes] = {}
        self.answers: dict[str, Response] = {}
        self.notices: list[Notification] = []
        self.requests: list[Request] = []
        self.serve: Callable[[Request], Any] | None = self.from_state
        self._tag = 0

    # Bytes

    def send(self, data: bytes) -> None:
        """Write, reading meanwhile: neither side may wait for the other for ever."""
        view = memoryview(data)
        deadline = time.monotonic() + PATIENCE
        while view:
            assert time.monotonic() < deadline, "the child does not read"
            readable, writable, _ = select.select([self.sock], [self.sock], [], 1)
            if writable:
                view = view[self.sock.send(view[:65536], socket.MSG_DONTWAIT) :]
            elif readable:
                self.pump(0)

    def pump(self, timeout: float) -> None:
        """Take what arrives within `timeout` seconds."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return
        data = self.sock.recv(1 << 20)
        if not data:
            raise Hangup
        for event in self.peer.receive(data):
            if isinstance(event, Response):
                self.answers[event.cookie] = event
            elif isinstance(event, Notification):
                self.notices.append(event)
            else:
                self.requests.append(event)
                if self.serve is not None:
                    self.reply(event)

    def until(self, check: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Pump until `check()` is true and give it."""
        deadline = time.monotonic() + timeout
        while not (value := check()):
            left = deadline - time.monotonic()
            assert left > 0, f"waited {timeout} s: answers {self.answers}, {len(self.notices)} notices"
            self.pump(min(left, 1))
        return value

    # Calls of ctx

    def reply(self, request: Request) -> None:
        assert self.serve is not None
        try:
            data = self.peer.result(request.id, self.serve(request))
        except LookupError as error:
            data = self.peer.error(request.id, {"type": str(error.args[0]), "message": "refused"})
        self.send(data)

    def from_state(self, request: Request) -> Any:
        """Serve state from a dict; emits are kept in `requests` alone."""
        key = request.params.get("key", "")
        match request.method:
            case "ctx.state.get":
                return self.state.get(key)
            case "ctx.state.set":
                self.state[key] = request.params["value"]
                return None
            case "ctx.state.has":
                return key in self.state
            case "ctx.state.delete":
                return self.state.pop(key, None) is not None
            case "ctx.state.incr":
                value = int(self.state.get(key, b"0")) + request.params["by"]
                self.state[key] = str(value).encode()
                return value
            case "ctx.state.keys":
                names = sorted(self.state)
                start = int(request.params["cursor"] or 0)
                more = start + 2 < len(names)
                return {
                    "keys": json.dumps(names[start : start + 2]).encode(),
                    "cursor": str(start + 2) if more else None,
                }
            case "job.children":
                return b'{"bull:q:1":{"ok":true}}'
            case "ctx.flow.emit":
                if request.params["trigger"] == "forbidden":
                    raise LookupError("FlowError")
                return {}
        raise LookupError("UnknownMethodError")

    # Requests of the host

    def request(self, method: str, params: dict[str, Any], tag: str = "") -> str:
        """Send a request; `answer` waits for it by the tag this gives."""
        self._tag += 1
        tag = tag or f"{method}-{self._tag}"
        self.send(self.peer.request(method, params, tag))
        return tag

    def answer(self, tag: str, timeout: float = PATIENCE) -> Response:
        response: Response = self.until(lambda: self.answers.get(tag), timeout)
        return response

    def initialize(self, root: pathlib.Path, files: list[str], **options: Any) -> dict[str, Any]:
        """Load files; gives the result with `handlers` and `problems` decoded. Raises AssertionError if refused."""
        bundle = {"root": str(root), "files": json.dumps(files).encode()}
        response = self.answer(self.request("initialize", {"protocol": 1, "bundle": bundle, "options": options}))
        assert response.error is None, response.error
        result: dict[str, Any] = response.result
        return {**result, "handlers": json.loads(result["handlers"]), "problems": json.loads(result["problems"])}

    def execute(self, handler: str, data: Any = None, run: str = "", **context: Any) -> str:
        """Start a run; gives its token, which is its tag too."""
        self._tag += 1
        run = run or f"run-{self._tag}"
        self.send(self.peer.request("execute", execute_params(run, handler, data, **context), run))
        return run

    def cancel(self, run: str, reason: str = "cancelled") -> None:
        self.send(self.peer.notify("cancel", {"run": run, "reason": reason}))

    def result(self, run: str) -> Any:
        """What a handler returned."""
        response = self.answer(run)
        assert response.error is None, response.error
        return json.loads(response.result)

    def run(self, handler: str, data: Any = None, **context: Any) -> Any:
        return self.result(self.execute(handler, data, **context))

    def error(self, run: str) -> dict[str, Any]:
        """The error a run ended with, its `data` decoded."""
        error = self.answer(run).error
        assert error is not None
        return {**error, "data": json.loads(error["data"]) if error.get("data") else None}

    def lines(self, run: str | None, source: str | None = None) -> list[str]:
        """Messages logged so far by a run."""
        return [
            str(notice.params["message"])
            for notice in self.notices
            if notice.method == "ctx.logger.log"
            and notice.params["run"] == run
            and source in (None, notice.params["source"])
        ]

    def logged(self, run: str | None, message: str) -> None:
        """Wait until a run has logged a message."""
        self.until(lambda: message in self.lines(run))


def execute_params(run: str, handler: str, data: Any = None, **context: Any) -> dict[str, Any]:
    """The params of `execute` for a plain job."""
    job = {
        "id": "7",
        "name": handler,
        "queue": "default",
        "data": json.dumps(data).encode(),
        "attempt": 1,
        "max_attempts": 3,
        "priority": 0,
        "created_at": 1760000000123,
        "metadata": None,
    }
    plain = {
        "flow_id": None,
        "flow_name": None,
        "step_name": None,
        "step_id": None,
        "attempt": 1,
        "deadline_ms": None,
        "timeout_ms": None,
        "idempotency_key": "default:7:1760000000123",
        "traceparent": None,
    }
    return {"run": run, "handler": handler, "job": job, "context": {**plain, **context}}


class Child(Side):
    """A Python child as a process."""

    def __init__(self, python: str = sys.executable, env: dict[str, str] | None = None, cwd: str | None = None) -> None:
        mine, its = socket.socketpair()
        script = [str(SDK / "child" / "boot.py"), json.dumps({"lend": LEND})]
        self.covered = env is None and python == sys.executable and "COVERAGE_FILE" in os.environ
        if self.covered:
            script.insert(0, str(COVERED))
            env = {**os.environ, "TESTS_COVERAGE_PACKAGE": str(pathlib.Path(coverage.__file__).parent)}
        boot = [python, "-I", "-S", *script]
        self.process = subprocess.Popen(
            boot,
            stdin=its.fileno(),
            stdout=its.fileno(),
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        its.close()
        super().__init__(mine)

    def pump(self, timeout: float) -> None:
        try:
            super().pump(timeout)
        except (Hangup, ConnectionResetError):
            raise AssertionError(f"the child has gone: {self.exit_code()} {self.stderr()}") from None

    def signal_urgent(self) -> None:
        self.process.send_signal(signal.SIGURG)

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)

    def stderr(self) -> str:
        """All it wrote to fd 2; call when it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def _end_in_order(self) -> None:
        """What is killed counts no lines."""
        try:
            self.answer(self.request("shutdown", {}), 1)
            self.process.wait(1)
        except (AssertionError, OSError, ProtocolError, subprocess.TimeoutExpired):
            pass  # the test has left it in a state in which it can't

    def shut_down(self) -> int:
        """Ask it to end; gives the exit code."""
        assert self.answer(self.request("shutdown", {})).result == {}
        return self.exit_code()

    def close(self) -> None:
        if self.covered and self.process.poll() is None:
            self._end_in_order()
        self.sock.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextmanager
def child(
    root: pathlib.Path,
    *files: str,
    python: str = sys.executable,
    env: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Child]:
    """A child that has loaded `files` of `root`; killed at the end if need be."""
    one = Child(python, env, str(root))
    try:
        one.initialize(root, list(files), **options)
        yield one
    finally:
        one.close()
