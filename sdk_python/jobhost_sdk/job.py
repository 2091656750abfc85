"""The job as a handler sees it."""

from __future__ import annotations

from .errors import InvalidJobDataError
from .json_values import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

_UNREAD: Any = object()


class Job:
    """What a producer enqueued, and the attempt this run is. Attributes are read-only but for the insides of `data`."""

    __slots__ = ("_data", "_wire")

    def __init__(self, wire: dict[str, Any]) -> None:
        """`wire`: the map `job` of PROTOCOL.md's `execute`, whose `data` is JSON text in bytes."""
        self._wire = wire
        self._data = _UNREAD

    @property
    def id(self) -> str:
        """Unique in its queue."""
        return self._wire["id"]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """The name it was enqueued under; for a handler named `*` not the handler's."""
        return self._wire["name"]  # type: ignore[no-any-return]

    @property
    def queue(self) -> str:
        return self._wire["queue"]  # type: ignore[no-any-return]

    @property
    def data(self) -> Any:
        """The value the producer gave; the instance, if the handler's `input` is a pydantic model."""
        if self._data is _UNREAD:
            try:
                self._data = decode(self._wire["data"])
            except ValueError as error:
                raise InvalidJobDataError(f"the data of the job cannot be read: {error}") from None
        return self._data

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self._wire["attempt"]  # type: ignore[no-any-return]

    @property
    def max_attempts(self) -> int:
        return self._wire["max_attempts"]  # type: ignore[no-any-return]

    @property
    def priority(self) -> int:
        """BullMQ's: none or 0 runs first, then 1, 2, …"""
        return self._wire["priority"]  # type: ignore[no-any-return]

    @property
    def created_at(self) -> datetime:
        """When it was enqueued, aware, UTC."""
        return utc(self._wire["created_at"])

    @property
    def metadata(self) -> Any:
        """What the producer added beside the data; None if nothing."""
        text = self._wire.get("metadata")
        return None if text is None else decode(text)

    def __repr__(self) -> str:
        return f"<Job {self.id!r} {self.name!r} of queue {self.queue!r}, attempt {self.attempt}>"


def utc(ms: int) -> datetime:
    """Unix milliseconds as an aware datetime."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(ms / 1000, timezone.utc)
