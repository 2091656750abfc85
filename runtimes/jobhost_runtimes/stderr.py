"""What a child writes to its standard error: lines for the log, and a tail that says why it died."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable

TAIL_LINES = 200
MAX_LINE = 16 * 1024
RATE = 200.0
"""Lines a second that are handed on after the first BURST; more are counted. The tail keeps the newest in any case."""
BURST = 1000


class StderrReader(asyncio.Protocol):
    """Reads one pipe to its end. `on_line` gets the lines that are not dropped; memory is bounded whatever comes."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._partial = b""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._tokens = float(BURST)
        self._refilled = time.monotonic()
        self._dropped = 0
        self._transport: asyncio.ReadTransport | None = None
        self.ended = asyncio.Event()
        self.lines = 0
        """Lines so far."""

    async def open(self, descriptor: int) -> None:
        """Start reading; takes the descriptor over."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(descriptor, "rb", 0))

    def data_received(self, data: bytes) -> None:
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()[:MAX_LINE]
        for line in lines:
            self._keep(line)

    def connection_lost(self, error: Exception | None) -> None:
        if self._partial:
            self._keep(self._partial)
            self._partial = b""
        self._say_dropped()
        self.ended.set()

    def close(self) -> None:
        """Stop reading: a grandchild may hold the pipe open for ever."""
        if self._transport is not None:
            self._transport.close()

    def tail(self, lines: int = 20) -> str:
        """The newest lines, joined."""
        kept = list(self._tail)[-lines:]
        return "\n".join(kept)

    def since(self, lines: int) -> list[str]:
        """What has come after the first so many lines, as far as it is kept."""
        return list(self._tail)[-min(TAIL_LINES, self.lines - lines) :] if self.lines > lines else []

    def _keep(self, raw: bytes) -> None:
        text = raw[:MAX_LINE].decode("utf-8", "replace").rstrip("\r")
        self._tail.append(text)
        self.lines += 1
        now = time.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._refilled) * RATE)
        self._refilled = now
        if self._tokens < 1:
            self._dropped += 1
            return
        self._tokens -= 1
        self._say_dropped()
        self._on_line(text)

    def _say_dropped(self) -> None:
        if self._dropped:
            self._on_line(f"{self._dropped} log lines dropped")
            self._dropped = 0
