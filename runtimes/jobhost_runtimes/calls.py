"""What a child may ask for, checked by shape before anything acts on it. The table is PROTOCOL.md section 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .json_text import is_json
from .run import Run
from .services import Line

_LEVELS = {"debug", "info", "warning", "error"}
_SOURCES = {"handler", "stdout", "stderr", "logging"}
MAX_SAFE = 2**53 - 1
MOST_OPS = 100
"""Changes in one batch of state."""


def _text(value: Any) -> bool:
    return type(value) is str


def _optional_text(value: Any) -> bool:
    return value is None or type(value) is str


def _whole(value: Any) -> bool:
    return type(value) is int and -MAX_SAFE <= value <= MAX_SAFE


def _optional_whole(value: Any) -> bool:
    return value is None or (_whole(value) and value >= 0)


def _truth(value: Any) -> bool:
    return value is None or type(value) is bool


def _optional_json(value: Any) -> bool:
    return value is None or is_json(value)


def _state_ops(value: Any) -> bool:
    return type(value) is list and 0 < len(value) <= MOST_OPS and all(map(_state_op, value))


def _state_op(op: Any) -> bool:
    if type(op) is not dict or not _text(op.get("key")):
        return False
    match op.get("op"):
        case "set":
            return is_json(op.get("value")) and _optional_whole(op.get("ttl"))
        case "incr":
            return _whole(op.get("by"))
        case "delete":
            return True
    return False


Check = Callable[[Any], bool]
REQUESTS: dict[str, dict[str, tuple[Check, str]]] = {
    "ctx.state.get": {"key": (_text, "a string"), "scope": (_optional_text, "a string or nil")},
    "ctx.state.set": {
        "key": (_text, "a string"),
        "value": (is_json, "JSON text"),
        "ttl": (_optional_whole, "milliseconds or nil"),
        "scope": (_optional_text, "a string or nil"),
    },
    "ctx.state.delete": {"key": (_text, "a string"), "scope": (_optional_text, "a string or nil")},
    "ctx.state.has": {"key": (_text, "a string"), "scope": (_optional_text, "a string or nil")},
    "ctx.state.keys": {"scope": (_optional_text, "a string or nil"), "cursor": (_optional_text, "a string or nil")},
    "ctx.state.incr": {
        "key": (_text, "a string"),
        "by": (_whole, "an integer within ±(2^53-1)"),
        "scope": (_optional_text, "a string or nil"),
    },
    "ctx.state.cas": {
        "key": (_text, "a string"),
        "expected": (_optional_json, "JSON text or nil"),
        "value": (_optional_json, "JSON text or nil"),
        "ttl": (_optional_whole, "milliseconds or nil"),
        "scope": (_optional_text, "a string or nil"),
    },
    "ctx.state.batch": {
        "ops": (_state_ops, f"1 to {MOST_OPS} changes, each a set, delete or incr of a key"),
        "scope": (_optional_text, "a string or nil"),
    },
    "ctx.flow.emit": {
        "trigger": (_text, "a string"),
        "payload": (is_json, "JSON text"),
        "key": (_optional_text, "a string or nil"),
        "immediate": (_truth, "a bool"),
    },
    "ctx.flow.start": {
        "trigger": (_text, "a string"),
        "payload": (is_json, "JSON text"),
        "key": (_optional_text, "a string or nil"),
        "immediate": (_truth, "a bool"),
    },
    "job.children": {},
    "job.updateData": {"data": (is_json, "JSON text")},
    "job.moveToDelayed": {"timestamp": (_whole, "Unix milliseconds")},
    "job.moveToWaitingChildren": {},
}


def params_problem(method: str, params: dict[str, Any]) -> str | None:
    """Say what is wrong with the params of a known request, or None."""
    for key, (check, wanted) in REQUESTS[method].items():
        if not check(params.get(key)):
            return f"{method}: {key} must be {wanted}"
    return None


def log_line(params: dict[str, Any], max_bytes: int) -> Line | None:
    """Make a line of `ctx.logger.log`'s params; None if they are malformed. Over-long messages are cut."""
    level, message, fields = params.get("level"), params.get("message"), params.get("fields")
    ts, source = params.get("ts"), params.get("source", "handler")
    if level not in _LEVELS or type(message) is not str or not _whole(ts) or source not in _SOURCES:
        return None
    if fields is not None and not (is_json(fields) and len(fields) <= max_bytes and fields[:1] == b"{"):
        return None
    if len(message) > max_bytes:
        message = message[:max_bytes] + " … (cut)"
    assert type(ts) is int
    return Line(ts, str(level), message, fields, str(source))


def live_run(runs: dict[str, Run], params: dict[str, Any]) -> Run | None:
    """The run a call names, if it is live in the child that makes it."""
    token = params.get("run")
    return runs.get(token) if type(token) is str else None
