"""`ctx`: all a handler can reach of the host.

`Context` is for asynchronous handlers, `SyncContext` for the others; `SetupContext` is what `setup` and `teardown` get.
"""

from __future__ import annotations

from .flow import Flow, SyncFlow
from .job import Job, utc
from .json_values import decode, encode
from .logger import MAX_LINE, Logger
from .state import State, SyncState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from datetime import datetime
    from typing import Any

    from .outputs import Encode
    from .port import Notified, Port, SyncPort
    from .services import Services


class Cancellation:
    """Whether a run was cancelled, and why; the runtime sets it, the context shows it."""

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason: str | None = None


class _Facts:
    """What both contexts know of the run."""

    __slots__ = (
        "_cancellation",
        "_deadline_ms",
        "_has_emitted",
        "_max_line",
        "_payloads",
        "_port",
        "_wire",
        "job",
        "services",
    )

    def __init__(
        self,
        port: Any,
        job: Job,
        wire: dict[str, Any],
        services: Services,
        cancellation: Cancellation,
        deadline_ms: int | None = None,
        max_line: int = MAX_LINE,
        payloads: dict[str, Encode] | None = None,
    ) -> None:
        """`wire`: the map `context` of PROTOCOL.md's `execute`. `deadline_ms`: Unix time, if not that of `wire`. `payloads`: the
        checks of what it emits, by trigger."""
        self._port = port
        self._wire = wire
        self._cancellation = cancellation
        self._deadline_ms = wire.get("deadline_ms") if deadline_ms is None else deadline_ms
        self._max_line = max_line
        self._payloads = payloads
        self._has_emitted = False
        self.job = job
        self.services = services

    @property
    def logger(self) -> Logger:
        return Logger(self._port, self._max_line)

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self.job.attempt

    @property
    def deadline(self) -> datetime | None:
        """When the host will cancel this run, aware, UTC; None if it has no timeout."""
        return None if self._deadline_ms is None else utc(self._deadline_ms)

    @property
    def cancelled(self) -> bool:
        """The run is to stop: its timeout has passed, a user cancelled it, its lease is lost or the host stops."""
        return self._cancellation.reason is not None

    @property
    def cancel_reason(self) -> str | None:
        """`timeout`, `cancelled`, `lease_lost` or `shutdown` once `cancelled` is true."""
        return self._cancellation.reason

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this job, and never that of another."""
        return self._wire["idempotency_key"]  # type: ignore[no-any-return]

    @property
    def flow_id(self) -> str | None:
        """The flow of the job; outside of one None, until the first emit begins `job-<idempotency key>`."""
        found = self._wire.get("flow_id")
        return f"job-{self.idempotency_key}" if found is None and self._has_emitted else found

    def _emitted(self) -> None:
        self._has_emitted = True

    @property
    def flow_name(self) -> str | None:
        return self._wire.get("flow_name")

    @property
    def step_name(self) -> str | None:
        return self._wire.get("step_name")

    @property
    def step_id(self) -> str | None:
        """`<flow_id>__<job name>__attempt-<n>`: a label, not a key."""
        return self._wire.get("step_id")

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of the producer, if it gave one."""
        return self._wire.get("traceparent")


class Context(_Facts):
    """`ctx` of an asynchronous handler: what asks the host is awaited."""

    __slots__ = ()

    _port: Port

    @property
    def state(self) -> State:
        return State(self._port)

    @property
    def flow(self) -> Flow:
        return Flow(self._port, self._emitted, self._payloads)

    def progress(self, value: Any) -> Awaitable[None]:
        """Publish how far the job is: a number or any other JSON value. It is sent at once; the await never waits."""
        self._port.notify("ctx.progress", {"value": encode(value, "progress")})
        return _DONE

    async def children(self) -> dict[str, Any]:
        """Give the results of a parent job's child jobs, by child key."""
        return decode(await self._port.call("job.children", {}))  # type: ignore[no-any-return]


class SyncContext(_Facts):
    """`ctx` of a synchronous handler: what asks the host returns when it has answered."""

    __slots__ = ()

    _port: SyncPort

    @property
    def state(self) -> SyncState:
        return SyncState(self._port)

    @property
    def flow(self) -> SyncFlow:
        return SyncFlow(self._port, self._emitted, self._payloads)

    def progress(self, value: Any) -> None:
        """As `Context.progress`."""
        self._port.notify("ctx.progress", {"value": encode(value, "progress")})

    def children(self) -> dict[str, Any]:
        """As `Context.children`."""
        return decode(self._port.call("job.children", {}))  # type: ignore[no-any-return]


class SetupContext:
    """`ctx` of `setup` and `teardown`: a place for services, and a logger. There is no run yet, so no state."""

    __slots__ = ("logger", "services")

    def __init__(self, services: Services, port: Notified, max_line: int = MAX_LINE) -> None:
        self.services = services
        self.logger = Logger(port, max_line)


class _Done:
    """An awaitable with nothing to wait for; unlike a coroutine it may also be left unawaited."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()
