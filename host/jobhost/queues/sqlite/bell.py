"""How processes that share a file wake each other: datagrams to sockets in a folder beside it.

Each listener has a socket there whose name begins with what it listens for: `wake` gets the names of queues that may have
work, `events` gets events, `cancel` only requests to cancel. A ring never waits: who does not keep up misses it and finds
out by the poll of the file, or never, if it was an event. The folder is listed again only when its time of change moved,
so a ring that nobody hears costs one `stat`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ..feed import Everything
from ..job import Event
from ..letters import letters_of

Kind = Literal["wake", "events", "cancel"]

LONGEST = 100
"""Bytes of a path that every system takes as a socket's address (108 on Linux, 104 elsewhere, with the final zero)."""

LETTER = 60 * 1024
"""Bytes of one datagram of events."""

FULL = 10
"""Datagrams that a socket holds where the system's limit is the smallest usual one: who reads so many may have missed one."""

SETTLED_NS = 50_000_000
"""A folder changed so shortly ago may change again without its time moving: kernels keep it in steps of some milliseconds."""


class Bell:
    """The folder of sockets of one file. `wanted` and `ring` are for the writer's thread, `listen` is for the loop's."""

    def __init__(self, path: Path) -> None:
        self._folder = path.with_name(path.name + "-bell")
        self._own: set[str] = set()
        self._others: list[str] = []
        self._changed_ns = -1
        self._sender: socket.socket | None = None
        self._folder_fd = -1

    def open(self) -> None:
        """Make the folder. If that can't be done there is no bell, and the poll has to do."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    def _address(self, name: str) -> str:
        path = str(self._folder / name)
        return path if len(os.fsencode(path)) <= LONGEST else f"/proc/self/fd/{self._folder_fd}/{name}"

    # Ringing ----------------------------------------------------------------------------------------------------

    def wanted(self, here: Container[str]) -> Container[str]:
        """Give the types of events that are wanted here or by another process."""
        if any(self._listeners("events")):
            return Everything()
        if any(self._listeners("cancel")) and "cancel" not in here:
            return _With("cancel", here)
        return here

    def ring(self, queues: Collection[str], events: list[Event]) -> None:
        """Tell the other processes."""
        if queues:
            self._send("wake", [msgspec.json.encode(sorted(queues))])
        if events:
            self._send("events", letters_of(events, LETTER))
            self._send("cancel", letters_of([event for event in events if event.type == "cancel"], LETTER))

    def _listeners(self, kind: Kind) -> Iterator[str]:
        self._look()
        return (name for name in self._others if name.startswith(kind))

    def _look(self) -> None:
        """List the folder if it has changed."""
        try:
            changed_ns = os.stat(self._folder).st_mtime_ns
            if changed_ns != self._changed_ns:
                self._others = [name for name in os.listdir(self._folder) if name not in self._own]
                self._changed_ns = changed_ns if time.time_ns() - changed_ns > SETTLED_NS else -1
        except OSError:
            self._others = []

    def _send(self, kind: Kind, letters: Iterable[bytes]) -> None:
        names = list(self._listeners(kind)) if self._sender else []
        for letter in letters if names else ():
            for name in names:
                self._drop_off(name, letter)

    def _drop_off(self, name: str, letter: bytes) -> None:
        assert self._sender is not None
        try:
            self._sender.sendto(letter, self._address(name))
        except BlockingIOError:
            pass  # it has enough to read
        except ConnectionRefusedError:
            self._unlink(name)  # its process died
        except OSError:
            pass  # it has just gone, or belongs to another user

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(self._folder / name)
        except OSError:
            pass  # another process did

    # Listening --------------------------------------------------------------------------------------------------

    def listen(self, kind: Kind, hear: Callable[[list[bytes]], None]) -> Callable[[], None]:
        """Call `hear` on the running loop with the datagrams that came; gives the function that ends it."""
        if self._folder_fd < 0:
            return lambda: None
        loop = asyncio.get_running_loop()
        name = f"{kind}.{os.getpid()}.{secrets.token_hex(4)}"
        self._own = self._own | {name}
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            ear.bind(self._address(name))
        except OSError:
            ear.close()
            return lambda: None
        loop.add_reader(ear.fileno(), lambda: hear(list(_letters_in(ear))))

        def stop() -> None:
            loop.remove_reader(ear.fileno())
            ear.close()
            self._unlink(name)
            self._own = self._own - {name}

        return stop


class _With(Container[str]):
    """A set of event types and one more."""

    def __init__(self, type: str, others: Container[str]) -> None:
        self._type = type
        self._others = others

    def __contains__(self, type: object) -> bool:
        return type == self._type or type in self._others


def _letters_in(ear: socket.socket) -> Iterator[bytes]:
    try:
        while letter := ear.recv(LETTER + 4096):
            yield letter
    except BlockingIOError:
        return


def queues_in(letters: list[bytes]) -> set[str] | None:
    """Give the queues that `wake` datagrams name; None if some datagrams may have been lost: then it may be any."""
    if len(letters) >= FULL:
        return None
    queues: set[str] = set()
    for letter in letters:
        try:
            queues.update(msgspec.json.decode(letter, type=list[str]))
        except msgspec.DecodeError:
            return None
    return queues
