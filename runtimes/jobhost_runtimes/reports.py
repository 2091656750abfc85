"""What a child says of itself and its runs, taken in with care: of the right form, bounded, and never with the host's voice."""

from __future__ import annotations

import json
from typing import Any

from .bundle import Contents, FileProblem, HandlerInfo
from .errors import ChildStartError
from .json_text import is_json
from .run import Ending, Outcome, host_error

MOST_KINDS = 16
"""Classes of one error that are looked at."""


def raised(error: dict[str, Any]) -> Outcome:
    """What a handler raised, as the child tells it; the origin is ours to set."""
    stored = host_error(
        str(error["type"])[:200], _clip(error.get("message"), 16), "handler", _clip(error.get("stack"), 64)
    )
    data = error.get("data")
    if is_json(data):
        details = json.loads(data)  # type: ignore[arg-type]
        if isinstance(details, dict):
            for key in ("fields", "cause"):
                if key in details:
                    stored[key] = details.pop(key)
            if details:
                stored["data"] = details
    retry = error.get("retry")
    if not (retry is None or retry is False or (type(retry) is int and retry >= 0)):
        retry = None
    return Outcome(
        Ending.RAISED,
        error=stored,
        retry=retry,
        uses_attempt=error.get("uses_attempt") is True,
        kinds=_kinds(error.get("kinds")),
    )


def _kinds(told: Any) -> list[str]:
    """Names of classes; what is none is left out."""
    return [kind for kind in told[:MOST_KINDS] if type(kind) is str] if type(told) is list else []


def _clip(value: Any, kib: int) -> str:
    return value[: kib * 1024] if type(value) is str else ""


def contents_of(answer: Any) -> Contents:
    """Take in the child's answer to `initialize`; raises ChildStartError if it is not of the protocol's form."""
    try:
        if answer["protocol"] != 1:
            raise ChildStartError(f"it speaks version {answer['protocol']} of the wire; this host speaks 1")
        handlers = [
            HandlerInfo(str(item["name"]), str(item["file"]), item.get("line"), str(item["kind"]), _settings(item))
            for item in json.loads(answer["handlers"])
        ]
        problems = [
            FileProblem(str(item["file"]), item.get("line"), str(item["error"]))
            for item in json.loads(answer["problems"])
        ]
        return Contents(handlers, problems, str(answer["sdk"]), str(answer["language"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ChildStartError(f"its answer to initialize is malformed: {type(error).__name__} {error}") from error


def problems_of(answer: Any) -> list[dict[str, str]]:
    """Take in the child's answer to `validate`; raises ChildStartError if it is not of the protocol's form."""
    try:
        found = [
            {"field": _clip(item["field"], 4), "message": _clip(item["message"], 4)}
            for item in json.loads(answer["problems"])
        ]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ChildStartError(f"its answer to validate is malformed: {type(error).__name__} {error}") from error
    return found


def _settings(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("name", "file", "line", "kind")}
