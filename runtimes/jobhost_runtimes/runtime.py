"""The seam of the runtimes: in-process and children both satisfy it and pass the same contract tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .bundle import BundleSpec, Contents
from .run import Run


class Runtime(Protocol):
    """Runs the handlers of one bundle. Used from the host's event loop alone.

    `on_room` may be set by the host: it is called whenever places have become free.
    """

    spec: BundleSpec
    on_room: Callable[[], None] | None

    async def start(self) -> Contents:
        """Load the bundle and tell what is in it. Raises ChildStartError if its child can't be started; what the files
        themselves do wrong is in `Contents.problems`. To be called once."""
        ...

    def room(self, handler: str) -> int:
        """How many runs of this handler could begin now (or right behind runs that take about a millisecond)."""
        ...

    def submit(self, run: Run) -> None:
        """Take a run; `run.on_end` is called once, later, whatever happens."""
        ...

    async def validate(self, handler: str, data: bytes) -> list[dict[str, str]]:
        """What a handler's `input` refuses of a job's data (JSON text), as `[{field, message}]`; nothing is run. Raises
        ChildStartError where no child can be asked, or it does not answer."""
        ...

    def cancel(self, run: Run, reason: str) -> None:
        """Stop a run: `cancelled`, `lease_lost` or `shutdown`. It ends by `on_end` when its work has really stopped."""
        ...

    async def stop(self, now: bool = False) -> None:
        """End what runs (cancelled, then killed after the grace; `now`: killed at once) and all children. Safe before start and twice."""
        ...
