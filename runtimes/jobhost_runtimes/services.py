"""What a run may ask of the host, as the runtimes see it. The host implements it; this package never looks behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .run import Json, Run


@dataclass(slots=True, frozen=True)
class Line:
    """A log line of a run or a child. `fields`: a JSON object or None. `source`: handler, stdout, stderr, logging, host."""

    ts: int
    level: str
    message: str
    fields: Json | None = None
    source: str = "handler"


LATER: Any = object()
"""What `call_now` gives where there is something to wait for."""


class Services(Protocol):
    """Called on the host's loop. `call` may wait; `log` and `progress` never do."""

    @property
    def methods(self) -> Sequence[str]:
        """Names of the methods `call` answers."""
        ...

    def call_now(self, run: Run, method: str, params: dict[str, Any]) -> Any:
        """As `call`, for what needs no waiting; `LATER` where it has to be awaited."""
        ...

    async def call(self, run: Run, method: str, params: dict[str, Any]) -> Any:
        """Answer one `ctx` call of a live run with a value of the wire. `params` has the types PROTOCOL.md gives.

        Raises CallError with the type the child shall see.
        """
        ...

    def log(self, run: Run, line: Line) -> None:
        """Keep a line with the run's job. Bounded: drops, never waits."""
        ...

    def child_log(self, bundle: str, pid: int, line: Line, candidates: Sequence[Run]) -> None:
        """A line of a child that can't be given to one run; `candidates` were live in it."""
        ...

    def progress(self, run: Run, value: Json) -> None:
        """The latest progress of a run."""
        ...
