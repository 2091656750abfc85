"""What every backend says alike: the errors it writes itself, sums of `incr`."""

from __future__ import annotations

import json
import re
from typing import Any

from jobhost.errors import StateTypeError

from .job import Json

SAFE_INTEGER = 2**53 - 1
"""The largest integer that JavaScript's numbers hold exactly: what any language can read back."""

_INTEGER = re.compile(rb"\s*-?(0|[1-9][0-9]{0,15})\s*")


def _error(type: str, message: str) -> Json:
    error: dict[str, Any] = dict.fromkeys(("type", "message", "stack", "origin", "fields", "cause", "data"))
    return json.dumps(error | {"type": type, "message": message, "origin": "host"}).encode()


CANCELLED: Json = _error("CancelledError", "the job was cancelled")


def stalled_error(stalled: int) -> Json:
    """The error of a job whose lease ran out too often."""
    times = "once" if stalled == 1 else f"{stalled} times"
    return _error("StalledError", f"its host stopped renewing its lease {times}: it died, hung or lost the queue")


def with_error(error: Json | None) -> Json | None:
    """The data of an event about a failed attempt."""
    return None if error is None else b'{"error":' + error + b"}"


def retry_data(error: Json | None, delay_ms: int) -> Json:
    """The data of a step's event `step.retry`."""
    return b'{"error":%b,"delay_ms":%d}' % (error or b"null", delay_ms)


def incremented(value: Json | None, by: int) -> int:
    """Add to a stored state value; None counts as 0. Raises StateTypeError."""
    if value is not None and not _INTEGER.fullmatch(value):
        raise StateTypeError("incr needs an integer, and the stored value is none")
    total = by + (int(value) if value is not None else 0)
    if abs(total) > SAFE_INTEGER:
        raise StateTypeError(f"incr would leave the integers that JSON carries exactly, ±{SAFE_INTEGER}")
    return total
