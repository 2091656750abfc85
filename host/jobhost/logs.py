"""The host's own log: readable lines on a terminal, JSON lines otherwise, always to stderr.

An event is a fixed word (`host.ready`); what varies stands beside it as fields, so that lines can be searched and counted.
`EVENTS` lists every one of them.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import time
from collections.abc import MutableMapping
from typing import Any, TextIO

Event = MutableMapping[str, Any]

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("console", "json")

EVENTS = {
    "host.ready": "every bundle has answered or given up, and the queues are served",
    "host.stopping": "no new jobs are taken; what runs is drained or handed back",
    "host.stopped": "nothing runs any more",
    "host.unsettled": "ends of jobs could not be written before the host stopped",
    "host.defect": "a mistake in jobhost itself; the host stops",
    "host.signal": "a signal asked the host to stop",
    "host.reload": "a reload was asked for, which this version cannot do",
    "bundle.loaded": "a bundle told its handlers",
    "bundle.start_failed": "a child of a bundle could not be started; it is tried again",
    "bundle.breaker_open": "a bundle's children failed to start several times in a row; its jobs wait",
    "bundle.breaker_closed": "children of a bundle whose breaker was open work again",
    "breaker.opened": "runs behind a breaker failed too often; jobs wait and use no attempts",
    "breaker.half_open": "one run behind a breaker is tried",
    "breaker.closed": "the run that was tried went well",
    "hooks.behind": "hooks are slower than jobs; no jobs are claimed until they have caught up",
    "hooks.caught_up": "hooks have caught up",
    "hooks.lost": "the host stopped before its hooks were told of everything",
    "alerts.dropped": "alerts could not be stored for so long that some were left out",
    "handler.problem": "a handler file is wrong; the rest of its bundle is served",
    "handler.timeout_not_enforced": "a handler in the host has a timeout, which only a child could be held to",
    "child.output": "a child wrote a line that no single run can be given",
    "job.completed": "a job is done",
    "job.failed": "a job failed for good",
    "job.retried": "an attempt failed, and the job comes back",
    "job.stalled": "a job's host stopped renewing its lease",
    "emit.unmatched": "a run emitted what nobody subscribes to; said once for each trigger",
    "flow.stalled": "nothing has been heard of a flow for long, and its jobs only wait",
    "schedule.put": "a schedule of the configuration is new or has changed",
    "schedule.removed": "a schedule is no longer in the configuration that it came from",
    "schedule.skipped": "ticks gave no job: they were missed, or the job before had not ended",
    "schedule.broken": "a schedule cannot be read on this machine",
    "lease.lost": "a run lost its job; its result is dropped",
    "backend.unavailable": "the store cannot be reached",
    "backend.available": "the store can be reached again",
    "backoff.strategy_failed": "a strategy of the user raised; the exponential one is used",
    "backoff.strategy_unknown": "no strategy has that name; the exponential one is used",
    "queue.older_layout": "the queue was written by a BullMQ before version 6",
    "queue.paused": "a paused queue was left as it is by --burst",
    "config.warning": "a setting that this version does not serve, or an unknown variable",
}
"""What the host says, word by word."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of text: a child could repaint a terminal with them."""

_COLORS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_INDENT = "\n    "


def printable(text: str) -> str:
    """Text of children, safe to print on a terminal: without control characters but newline and tab."""
    return _CONTROL.sub("", text)


def set_up(format: str | None = None, level: str = "info", stream: TextIO | None = None) -> Any:
    """Configure structlog for this process, and give the host's logger; `bind(...)` makes children of it with context.

    `format`: `console` or `json`; None is `console` on a terminal and `json` elsewhere. `stream`: stderr by default.
    """
    structlog = _structlog()
    stream = sys.stderr if stream is None else stream
    console = format == "console" or (format is None and _is_terminal(stream))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _Console(_is_terminal(stream) and "NO_COLOR" not in os.environ) if console else _json_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_names: _Writer(stream),
        cache_logger_on_first_use=False,
    )
    return structlog.get_logger("jobhost")


def _structlog() -> Any:
    """structlog without rich: its `dev` module imports rich where it is installed, and pays 30 ms and 10 MiB for nothing."""
    absent = object()
    before = sys.modules.get("rich", absent)
    if before is absent:
        sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it fails now
    try:
        import structlog
    finally:
        if before is absent:
            del sys.modules["rich"]
    return structlog


class _Writer:
    """Writes whole lines. A log that cannot be written is no reason to fail what is logged."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = msg


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _json_line(_logger: object, _method: str, event: Event) -> str:
    import json

    line = {"ts": _utc(time.time()), "level": event.pop("level"), "event": event.pop("event")}
    if trace := _trace(event):
        line["trace"] = trace
    # ASCII, since lone surrogates in what a child wrote could not be written otherwise.
    return json.dumps(line | dict(event), default=str)


class _Console:
    """`12:30:01.250 info     job.failed  queue=default job_id=7`"""

    def __init__(self, colors: bool) -> None:
        self._colors = colors

    def __call__(self, _logger: object, _method: str, event: Event) -> str:
        now = time.time()
        clock = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03}"
        level, name, trace = str(event.pop("level")), str(event.pop("event")), _trace(event)
        fields = " ".join(f"{key}={_field(value)}" for key, value in event.items() if value is not None)
        padded = f"{level:8}"
        if self._colors:
            clock, padded = f"\x1b[2m{clock}\x1b[0m", f"\x1b[{_COLORS.get(level, '0')}m{padded}\x1b[0m"
        line = f"{clock} {padded} {printable(name)}  {fields}".rstrip()
        return line + (_INDENT + printable(trace).replace("\n", _INDENT) if trace else "")


def _field(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_field, value)) or "-"
    text = printable(str(value)).replace("\n", _INDENT).encode(errors="replace").decode()
    return f'"{text}"' if " " in text and "\n" not in text else text


def _trace(event: Event) -> str:
    """The traceback of an event's `exc_info`, which may be an exception or true for the current one."""
    given = event.pop("exc_info", None)
    if not given:
        return ""
    import traceback

    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    text = io.StringIO()
    traceback.print_exception(error, file=text)
    return text.getvalue().rstrip()


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03}Z"
