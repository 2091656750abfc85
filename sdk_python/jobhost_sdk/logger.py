"""Log lines of a run: `ctx.logger`. It never blocks and never raises, whatever is logged."""

from __future__ import annotations

from time import time

from .json_values import encode_lossy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .port import Notified

LEVELS = ("debug", "info", "warning", "error")
MAX_LINE = 16_384
"""Bytes of a message, or of all its fields as JSON, that are kept unless the host says otherwise."""

CUT = "… [cut]"
"""Ends a line of which the rest was dropped."""


def log_params(level: str, message: str, fields: Any, source: str, max_line: int = MAX_LINE) -> dict[str, Any]:
    """Give the params of `ctx.logger.log`, without `run`."""
    text = None
    if fields:
        text = encode_lossy(fields)
        if len(text) > max_line:
            text = encode_lossy({"fields": f"{len(text)} bytes, dropped"})
    return {
        "level": level,
        "message": cut(message, max_line),
        "fields": text,
        "ts": int(time() * 1000),
        "source": source,
    }


def cut(text: str, max_bytes: int) -> str:
    """Give `text` as it may travel: no lone surrogates, at most `max_bytes` bytes of UTF-8 and a mark if it was longer."""
    if len(text) <= max_bytes and text.isascii():
        return text
    # A hundred megabytes are not encoded to find that they are too long.
    data = text[: max_bytes + 1].encode(errors="replace")
    if len(data) <= max_bytes:
        return data.decode()
    return data[:max_bytes].decode(errors="ignore") + CUT


class Logger:
    """Writes log lines of one run. Fields are JSON values; what is not is logged as its `repr`."""

    __slots__ = ("_max_line", "_port")

    def __init__(self, port: Notified, max_line: int = MAX_LINE) -> None:
        self._port = port
        self._max_line = max_line

    # The message is positional only, so that a field may be called `message`.
    def debug(self, message: object, /, **fields: Any) -> None:
        self.log("debug", message, fields)

    def info(self, message: object, /, **fields: Any) -> None:
        self.log("info", message, fields)

    def warning(self, message: object, /, **fields: Any) -> None:
        self.log("warning", message, fields)

    def error(self, message: object, /, **fields: Any) -> None:
        self.log("error", message, fields)

    def log(self, level: str, message: object, fields: dict[str, Any] | None = None) -> None:
        """`level`: debug, info, warning or error; anything else counts as info."""
        try:
            level = level if level in LEVELS else "info"
            self._port.notify("ctx.logger.log", log_params(level, str(message), fields, "handler", self._max_line))
        except Exception:  # noqa: BLE001, S110 - a log line is never worth a job; `str` of an object may raise anything
            pass
