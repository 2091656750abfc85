"""What hosts do for flows now and then: forget those that ended long ago, and tell of those that stand still.

Every host does it. Twice does no harm: what is forgotten is gone, and what was told is news for everybody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from ..config.document import Config
from ..errors import BackendUnavailableError
from ..queues.clock import Clock
from ..queues.flows import FlowInfo
from ..queues.job import Job
from ..queues.seam import Backend

EVERY = 60.0
"""Seconds between two rounds."""
LOOKED_AT = 1_000
"""Running flows that one round looks at, the newest."""
NAMED = 20
"""Jobs that the event of a flow that stands still names."""


async def keep_house(backend: Backend, config: Config, log: Any, trouble: Any, clock: Clock) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(EVERY)
        try:
            await tidy(backend, config, log, clock())
        except BackendUnavailableError as error:
            trouble(error)


async def tidy(backend: Backend, config: Config, log: Any, now: int) -> None:
    """One round. `now`: Unix ms."""
    state_before = now - config.state.grace if config.state.cleanup == "on_complete" else None
    while await backend.sweep_flows(state_before, now - config.flows.keep):
        pass
    if config.flows.stalled_after:
        await _tell_stalled(backend, now - config.flows.stalled_after, log)


async def _tell_stalled(backend: Backend, before: int, log: Any) -> None:
    flows, _ = await backend.flows(statuses=["running"], limit=LOOKED_AT)
    for flow in flows:
        if flow.started_at < before and (waiting := await _stalled(backend, flow, before)):
            told = [
                {"name": job.name, "queue": job.queue, "job_id": job.id, "state": job.state} for job in waiting[:NAMED]
            ]
            await backend.tell_flow(flow.id, "flow.stalled", json.dumps({"waits_for": told}).encode())
            queues = sorted({job.queue for job in waiting})
            log.warning(
                "flow.stalled",
                flow_id=flow.id,
                flow=flow.name,
                queues=queues,
                hint="its jobs only wait: is a host there that serves these queues and has the handlers, and are they not paused?",
            )


async def _stalled(backend: Backend, flow: FlowInfo, before: int) -> Sequence[Job]:
    """The jobs that wait, if nothing was heard of the flow since `before` and none of its jobs runs or comes due by itself."""
    last = await backend.flow_events(flow.id, flow.events - 1, 1)
    if last and last[0].ts >= before:
        return ()
    left = [job for job in await backend.flow_jobs(flow.id) if job.state not in ("completed", "failed")]
    return () if any(job.state in ("active", "delayed", "waiting-children") for job in left) else left
