"""What handlers print becomes log lines of the run that printed it.

`sys.stdout` and `sys.stderr` are replaced; a context variable says whose text it is, so that runs that take turns on one
event loop do not mix. A thread has no such variable: its text goes to the only run that has started, if there is one.
What bypasses `sys` (C code, a grandchild) lands on fd 1 or 2, which both lead to the host as plain text.
"""

from __future__ import annotations

import io
import sys
from _contextvars import ContextVar

from .logger import log_params

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, Protocol

    class Owner(Protocol):
        """A run, or what stands for no run."""

        partial: dict[str, str] | None
        """Text without a line end yet, by stream."""

        def speaker(self) -> Owner:
            """Who owns what this run prints now: itself while it is live."""
            ...

        def allows_line(self) -> bool:
            """Whether a line may be sent now; if not it is counted."""
            ...

        def send_line(self, params: dict[str, Any]) -> None: ...


current: ContextVar[Any] = ContextVar("jobhost_run")
"""The run whose handler this code belongs to."""

LEVELS = {"stdout": "info", "stderr": "warning"}


class Stream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr. `fileno()` is that of the real one, for `subprocess`."""

    encoding = "utf-8"
    errors = "replace"
    line_buffering = True
    mode = "w"

    def __init__(self, source: str, fd: int, find_owner: Callable[[], Owner], max_line: int) -> None:
        """`find_owner` says whose the text of code is that runs in no run's context."""
        super().__init__()
        self.name = f"<{source}>"
        self.buffer = Bytes(self)
        self._source = source
        self._fd = fd
        self._find_owner = find_owner
        self._max_line = max_line

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        owner = current.get(None)
        owner = self._find_owner() if owner is None else owner.speaker()
        print_text(owner, self._source, text, self._max_line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        """A line is sent when it ends, an unfinished one when its run does."""

    def close(self) -> None:
        """Stays open: whoever closes it is not its only writer."""

    def reconfigure(self, **_: Any) -> None:
        """As of TextIOWrapper; there is nothing to set."""


class Bytes(io.BufferedIOBase):
    """`sys.stdout.buffer`: bytes of UTF-8, of which a character may come in two writes."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        from codecs import getincrementaldecoder

        self._stream = stream
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        self._stream.write(self._decoder.decode(bytes(data)))
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        """As of Stream."""

    def close(self) -> None:
        """As of Stream."""


def print_text(owner: Owner, source: str, text: str, max_line: int) -> None:
    """Take printed text: send the lines it ends, keep what is left, of an endless line no more than will be sent."""
    if owner.partial is None:
        owner.partial = {}
    lines = (owner.partial.pop(source, "") + text).split("\n")
    rest = lines.pop()
    if rest:
        owner.partial[source] = rest[: max_line + 1]
    for line in lines:
        if owner.allows_line():
            owner.send_line(log_params(LEVELS[source], line, None, source, max_line))


def end_lines(owner: Owner, max_line: int) -> None:
    """Send what was printed without a line end."""
    partial, owner.partial = owner.partial or {}, None
    for source, text in partial.items():
        if owner.allows_line():
            owner.send_line(log_params(LEVELS[source], text, None, source, max_line))


def install(find_owner: Callable[[], Owner], max_line: int) -> None:
    """Replace sys.stdout and sys.stderr."""
    for source, fd in (("stdout", 1), ("stderr", 2)):
        getattr(sys, source).flush()
        setattr(sys, source, Stream(source, fd, find_owner, max_line))


def uninstall() -> None:
    """Give back the real ones, as a process that was forked from this one needs them."""
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def capture_logging(find_owner: Callable[[], Owner], max_line: int) -> None:
    """Once `logging` has been imported, and unless the author configured it, send its records too."""
    if "logging" in sys.modules:
        from .logging_bridge import attach

        attach(find_owner, max_line)
