"""Log lines of jobs, for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobhost.listings import Listing

from .output import line_of

LEVELS = ("debug", "info", "warning", "error")


def log_text(line: Listing) -> str:
    """`12:00:01.250 info    #1 resizing width=80`; the number is the attempt."""
    clock = f"{datetime.fromisoformat(line['ts']).astimezone():%H:%M:%S.%f}"[:-3]
    source = "" if line["source"] == "handler" else f" [{line['source']}]"
    return f"{clock} {line['level']:<7} #{line['attempt']}{source} {message_text(line['message'], line['fields'])}"


def message_text(message: str, fields: Any) -> str:
    """A message and its fields."""
    told = fields if isinstance(fields, dict) else {}
    return " ".join([line_of(message), *(f"{line_of(key)}={line_of(value)}" for key, value in told.items())])
