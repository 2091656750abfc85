"""A live run from the host's side: its claim, its handler, and what is still allowed to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobhost_runtimes.run import Run

from ..catalogue import Entry
from ..config.policy import Policy
from ..queues.job import Job, Lease

if TYPE_CHECKING:
    from .queue_worker import QueueWorker


@dataclass(slots=True, eq=False)
class Live:
    """Hangs at `Run.tag`. `refused`: the run asked for what this host can't do; it may not end well, whatever it returns."""

    job: Job
    lease: Lease
    entry: Entry
    policy: Policy
    worker: QueueWorker
    run: Run | None = None
    lost: bool = False
    refused: dict[str, str] | None = None
