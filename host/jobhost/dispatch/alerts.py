"""Alerts: a receiver is told that a job has failed for good, a flow has, a breaker has opened.

An alert is a job: it waits in a queue of its own in the same store, is delivered by any host that knows its receiver, is tried again for
a day while nobody answers, survives restarts, and can be looked at as jobs are. Nothing that fails waits for it. Of many of one kind
the first is told at once, and the others together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..config.alerts import Alert, Kind
from ..config.queues import QueueSettings
from ..errors import BackendUnavailableError, ConfigurationError
from ..listings import iso
from ..queues.job import Event, Job, Keep, NewJob, Settlement

if TYPE_CHECKING:
    from .host import Host

QUEUE = "jobhost.alerts"
HANDLER = "jobhost.alert"
BACKOFF = "jobhost.alert"
ATTEMPTS = 300
"""With pauses of five minutes at last: a day."""
FIRST_MS, LONGEST_MS = 1_000, 300_000
MOST_KEPT = 1_000
"""Alerts that wait here for a store that is gone."""
MOST_WINDOWS = 10_000
"""Kinds of alerts whose pace is kept; one more is told without."""
PAUSE = 1.0
MESSAGE = 2_000
"""Characters of an error's message that an alert carries."""


@dataclass(slots=True)
class _Window:
    """Alerts of one kind since the last one that was told."""

    more: int = 0
    last: dict[str, Any] | None = None


class Alerts:
    """One a host. Does nothing where no alert is configured: `on` is False then."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._alerts: Sequence[Alert] = host.config.alerts
        self.on = bool(self._alerts)
        self._handlers = {alert.handler for alert in self._alerts if alert.handler is not None}
        self._windows: dict[tuple[str, Kind, str | None, str | None], _Window] = {}
        self._left: list[NewJob] = []
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def deliver_here(self) -> bool:
        """Whether some receiver is told by this host itself."""
        return any(alert.handler is None for alert in self._alerts)

    def prepare(self) -> None:
        """Register what delivers. Raises ConfigurationError where a secret is missing."""
        for alert in self._alerts:
            if alert.secret_env is not None and not os.environ.get(alert.secret_env):
                raise ConfigurationError(f"alerts: the variable {alert.secret_env} (secret_env) is not set")
        if self.deliver_here:
            receivers = {alert.id: alert for alert in self._alerts}
            from . import alert_delivery  # with it comes HTTP, which a host without alerts need not load

            deliver = alert_delivery.delivery(receivers, self._host.config.base_dir)
            self._host.register(deliver, HANDLER, queue=QUEUE, timeout="none", description="tells receivers of alerts")
            self._host.backoff_strategy(BACKOFF, lambda made, _error, _job: pause_ms(made))

    async def hear_flows(self) -> None:
        """Tell of flows that failed, for ever."""
        if any("flow_failed" in alert.on for alert in self._alerts):
            async for event in self._host.backend.events(types=("flow_failed",)):
                self.flow_failed(event)

    # What happens -------------------------------------------------------------------------------------------------

    def job_failed(self, job: Job, decided: Settlement) -> None:
        """A job has failed for good, and that is written."""
        made = job.attempts_made + decided.attempt_used
        self.failed(job, decided.error, decided.dead_letter, made, decided.lease.token)

    def failed(self, job: Job, error: bytes | None, dead_letter: str | None, attempts_made: int, end: str) -> None:
        """`end`: which of its ends this is: a job that was retried or replayed may fail again."""
        loaded = json.loads(error or b"{}")
        if job.queue == QUEUE or job.name in self._handlers or loaded.get("type") == "CancelledError":
            return  # an alert about an alert would never end
        told = {
            "job": {"id": job.id, "queue": job.queue, "name": job.name, "attempts_made": attempts_made},
            "error": {"type": loaded.get("type"), "message": str(loaded.get("message", ""))[:MESSAGE]},
            "dead_letter": dead_letter,
        }
        identity = f"{job.queue}:{job.id}:{job.created_at}:{end}"
        if dead_letter is not None:
            self.tell("dead_letter", identity, told, job.queue, job.name)
        self.tell("failed", identity, told, job.queue, job.name)

    def flow_failed(self, event: Event) -> None:
        told = {"flow": {"id": event.job_id, "name": event.name}}
        self.tell("flow_failed", f"{event.job_id}:{event.ts}", told, None, None)

    def tell(self, kind: Kind, identity: str, told: dict[str, Any], queue: str | None, handler: str | None) -> None:
        """Tell every receiver that wants to know. `identity`: what happened has it for every host that tells of it."""
        for alert in self._alerts:
            if alert.wants(kind, queue, handler):
                body = {"type": kind, "at": iso(self._host.clock()), "host": self._host.id, **told, "more": 0}
                self._paced(alert, kind, queue, handler, identity, body)

    # When it is told ----------------------------------------------------------------------------------------------

    def _paced(
        self, alert: Alert, kind: Kind, queue: str | None, handler: str | None, identity: str, body: dict[str, Any]
    ) -> None:
        key = (alert.id, kind, queue, handler)
        window = self._windows.get(key)
        if window is not None:
            window.more += window.last is not None
            window.last = {**body, "identity": identity}
            return
        self._add(alert, kind, identity, body)
        if alert.every and len(self._windows) < MOST_WINDOWS:
            self._windows[key] = _Window()
            asyncio.get_running_loop().call_later(alert.every / 1000, self._window_ends, alert, key)

    def _window_ends(self, alert: Alert, key: tuple[str, Kind, str | None, str | None]) -> None:
        window = self._windows.pop(key, None)
        if window is not None and window.last is not None:
            identity = window.last.pop("identity")
            self._add(alert, key[1], identity, {**window.last, "more": window.more})
            self._windows[key] = _Window()
            asyncio.get_running_loop().call_later(alert.every / 1000, self._window_ends, alert, key)

    def _add(self, alert: Alert, kind: Kind, identity: str, body: dict[str, Any]) -> None:
        """Store the job that tells, soon."""
        if len(self._left) >= MOST_KEPT:
            self._dropped += 1
            return
        id = hashlib.sha256(f"{alert.id}\0{kind}\0{identity}".encode("utf-8", "replace")).hexdigest()[:32]
        body = {"id": id, **body}
        if alert.handler is not None:
            # Its own settings hold: it is a job like any other.
            self._left.append(NewJob(alert.handler, _json(body), "", id))
        else:
            backoff = _json({"type": BACKOFF})
            data = _json({"alert": alert.id, "body": body})
            self._left.append(
                NewJob(HANDLER, data, QUEUE, id, attempts=ATTEMPTS, backoff=backoff, timeout_ms=0, flow_id="")
            )
        if self._task is None or self._task.done():
            self._task = self._host.spawn(self._store())

    async def _store(self) -> None:
        while self._left:
            some, self._left = self._left, []
            try:
                await self._host.backend.add([await self._placed(new) for new in some])
            except BackendUnavailableError as error:
                self._left = some + self._left
                self._host.backend_trouble(error)
                await asyncio.sleep(PAUSE)
        if self._dropped:
            self._host.log.error("alerts.dropped", count=self._dropped, hint="the store was gone for too long")
            self._dropped = 0

    async def _placed(self, new: NewJob) -> NewJob:
        """A handler is told where a host serves it."""
        if new.queue:
            return new
        entry = self._host.catalogue.named(new.name)
        if entry is not None:
            return replace(new, queue=entry.queue)
        known = {one.name: one.queue for one in await self._host.backend.published()}
        return replace(new, queue=known.get(new.name, "default"))

    async def flush(self) -> None:
        """The host stops: what was held back is told now."""
        windows, self._windows = self._windows, {}
        receivers = {alert.id: alert for alert in self._alerts}
        for key, window in windows.items():
            if window.last is not None:
                identity = window.last.pop("identity")
                self._add(receivers[key[0]], key[1], identity, {**window.last, "more": window.more})
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])


def pause_ms(made: int) -> int:
    """Milliseconds until an alert is tried again: from a second to five minutes."""
    return min(LONGEST_MS, FIRST_MS << min(made - 1, 20))


def queue_of_alerts(settings: QueueSettings) -> QueueSettings:
    """What holds for the queue of alerts: what users say of every queue is about their own."""
    return replace(
        settings,
        dead_letter=None,
        max_age=None,
        rate_limit=None,
        paused=False,
        keep_completed=Keep(100),
        keep_failed=Keep(1_000),
    )


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
