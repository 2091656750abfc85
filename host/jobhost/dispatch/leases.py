"""The leases of one queue's jobs: renewed in time, and taken over from hosts that died."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BackendUnavailableError
from ..queues.seam import Recovered

if TYPE_CHECKING:
    from .queue_worker import QueueWorker


async def keep_leases(worker: QueueWorker) -> None:
    """Renew at half time, for ever. Runs on the host's loop: no handler can hold it up."""
    while True:
        await asyncio.sleep(worker.settings.lease / 2000)
        try:
            await _renew(worker)
        except BackendUnavailableError as error:
            worker.host.backend_trouble(error)


async def _renew(worker: QueueWorker) -> None:
    held = list(worker.live.values())
    if not held:
        return
    renewals = await worker.host.backend.renew([live.lease for live in held], worker.settings.lease)
    for live, renewal in zip(held, renewals, strict=True):
        if renewal == "lost":
            worker.lease_lost(live)
        elif renewal == "cancel":
            worker.cancel(live.job.id)


async def recover_stalled(worker: QueueWorker) -> None:
    """Look for jobs whose host died, for ever.

    A backend that hung or was gone may have let leases run out though every host lives: each first takes its own again,
    and after an outage time is left for the others to do so.
    """
    gone = False
    while True:
        try:
            await _renew(worker)
            if gone:
                await asyncio.sleep(worker.settings.lease / 2000)
                gone = False
            found = await worker.host.backend.recover(
                worker.name, worker.settings.max_stalled, worker.settings.keep_failed, worker.settings.dead_letter
            )
            await _took_over(worker, found)
        except BackendUnavailableError as error:
            gone = True
            worker.host.backend_trouble(error)
        await asyncio.sleep(worker.settings.stalled_interval / 1000)


async def _took_over(worker: QueueWorker, found: Recovered) -> None:
    """Tell of the jobs of hosts that died."""
    host = worker.host
    for job_id in (*found.waiting, *found.failed):
        host.log.warning("job.stalled", queue=worker.name, job_id=job_id)
    host.failed += len(found.failed)
    if found.waiting:
        worker.poke()
    if found.failed and host.alerts.on:
        await _tell_stalled(worker, found.failed)
    if found.failed and host.hooks:
        await host.hooks.stalled(worker.name, found.failed)


async def _tell_stalled(worker: QueueWorker, ids: Sequence[str]) -> None:
    for id in ids:
        job = await worker.host.backend.get(worker.name, id)
        if job is not None and job.state == "failed":
            worker.host.alerts.failed(
                job, job.error, worker.settings.dead_letter, job.attempts_made, str(job.finished_at)
            )
