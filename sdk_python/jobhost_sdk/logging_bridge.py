"""Python's own `logging` as log lines of the run that logged. Imported only where `logging` is."""

from __future__ import annotations

import logging

from .logger import log_params
from .output import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .output import Owner

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes every record has; all others came with `extra=`."""


class RunHandler(logging.Handler):
    """Sends each record to the run in whose context it was made."""

    def __init__(self, find_owner: Callable[[], Owner], max_line: int) -> None:
        super().__init__()
        self._find_owner = find_owner
        self._max_line = max_line

    def emit(self, record: logging.LogRecord) -> None:
        owner = current.get(None)
        owner = self._find_owner() if owner is None else owner.speaker()
        try:
            if owner.allows_line():
                fields = {"logger": record.name, **_extra(record)}
                owner.send_line(log_params(_level(record), self.format(record), fields, "logging", self._max_line))
        except Exception:  # noqa: BLE001 - as every logging.Handler: a bad format string is reported, not raised
            self.handleError(record)


def attach(find_owner: Callable[[], Owner], max_line: int) -> None:
    """Put a RunHandler on the root logger and let INFO through, unless the author configured the root logger."""
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(RunHandler(find_owner, max_line))
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)


def _level(record: logging.LogRecord) -> str:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warning"
    return "info" if record.levelno >= logging.INFO else "debug"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
