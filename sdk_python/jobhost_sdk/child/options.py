"""What `initialize` says of how a child is to behave."""

from __future__ import annotations

from ..json_values import decode
from ..logger import MAX_LINE
from ..wire import MAX_FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOG_RATE, LOG_BURST = 1000, 5000
"""Log lines a second and at once for each run, unless the host says otherwise."""


class Options:
    """The options of `initialize` with their defaults. Unknown ones are ignored."""

    __slots__ = ("log_burst", "log_rate", "max_frame", "max_log_line", "schemas", "sdk_paths")

    def __init__(self, wire: dict[str, Any] | None = None) -> None:
        """Raises TypeError or ValueError at an option of the wrong type."""
        wire = wire or {}
        self.max_frame = _number(wire, "max_frame", MAX_FRAME)
        self.max_log_line = _number(wire, "max_log_line", MAX_LINE)
        self.log_rate = _number(wire, "log_rate", LOG_RATE)
        self.log_burst = _number(wire, "log_burst", LOG_BURST)
        self.schemas: dict[str, Any] = decode(wire["schemas"]) if wire.get("schemas") is not None else {}
        self.sdk_paths: list[str] = decode(wire["sdk_paths"]) if wire.get("sdk_paths") is not None else []


def _number(wire: dict[str, Any], name: str, default: int) -> int:
    value = wire.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 1:
        raise TypeError(f"the option {name} is not a positive integer")
    return value
