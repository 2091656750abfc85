"""What a host under test says in its own log, kept for messages of failed assertions."""

from __future__ import annotations

from typing import Any, Self

Said = tuple[str, str, dict[str, Any]]


class HostLog:
    """Stands for structlog's logger. `said`: level, event and fields of warnings and worse."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.defect: BaseException | None = None
        """A mistake in jobhost itself, for which the host has stopped."""

    def bind(self, **_: Any) -> Self:
        return self

    def debug(self, event: str, **fields: Any) -> None:
        """Not kept."""

    info = debug

    def warning(self, event: str, **fields: Any) -> None:
        self.said.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.said.append(("error", event, fields))

    def critical(self, event: str, exc_info: BaseException | None = None, **fields: Any) -> None:
        self.said.append(("critical", event, fields))
        self.defect = exc_info
