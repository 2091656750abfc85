"""Events of a flow as lines, for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobhost.cli.output import line_of
from jobhost.listings import Listing

SHOWN = 160
"""Characters of an event's data on its line."""


def event_text(event: Listing) -> str:
    """`12:00:01.250 step.completed charge #1 {"result": …}`."""
    clock = f"{datetime.fromisoformat(event['ts']).astimezone():%H:%M:%S.%f}"[:-3]
    where = "" if event["step_name"] is None else line_of(event["step_name"])
    attempt = f" #{event['attempt']}" if event["attempt"] else ""
    told = _told(event["type"], event["data"])
    return f"{clock} {event['type']:<15} {where}{attempt}{' ' if where and told else ''}{told}".rstrip()


def _told(type: str, data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    if type == "step.emitted":
        return _emitted(data)
    if type == "flow.completed" and data.get("unmet"):
        return f"never got all they wait for: {_cut(', '.join(map(str, data['unmet'])))}"
    if isinstance(error := data.get("error"), dict):
        text = f"{error.get('type')}: {error.get('message')}"
        return _cut(text if not data.get("delay_ms") else f"{text}; again in {data['delay_ms']} ms")
    if len(data) == 1:
        [value] = data.values()
        return "" if value is None else _cut(line_of(value))
    return _cut(line_of(data))


def _emitted(data: dict[str, Any]) -> str:
    if "starts" in data:
        return f"starts {line_of(data['starts'])} {line_of(data.get('flow_id'))}"
    key = f" [{line_of(data['key'])}]" if data.get("key") is not None else ""
    to = [f"{line_of(name)} {line_of(id)[:8]}" for name, _queue, id in data.get("to", ())]
    to += [f"{line_of(name)} (waits for more)" for name in data.get("waiting", ())]
    return _cut(f"{line_of(data.get('trigger'))}{key} -> {', '.join(to) or 'nobody'}")


def _cut(text: str) -> str:
    text = line_of(text)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
