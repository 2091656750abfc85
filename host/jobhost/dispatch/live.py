"""A live run from the host's side: its claim, its handler, and what is still allowed to it."""

from __future__ import annotations

from dataclasses import dataclass

from jobhost_runtimes.run import Ending, Outcome, Run, host_error

from ..catalogue import Entry
from ..config.policy import Policy
from ..queues.job import Job, Lease


@dataclass(slots=True, eq=False)
class Live:
    """Hangs at `Run.tag`. `refused`: the run asked for what this host can't do; it may not end well, whatever it returns."""

    job: Job
    lease: Lease
    entry: Entry
    policy: Policy
    run: Run | None = None
    lost: bool = False
    refused: dict[str, str] | None = None
    delay_until: int | None = None
    """Where its handler has moved the job to; counts if the run ends with BullMQ's `DelayedError`. Unix ms."""
    left: bool = False
    """Its handler has let the job wait for its children: it is this run's no more."""

    def judged(self, outcome: Outcome) -> Outcome:
        """The outcome that counts: a run that was refused what it asked for has failed, whatever it returned."""
        if self.refused is None or outcome.ending is not Ending.RETURNED:
            return outcome
        error = host_error(self.refused["type"], self.refused["message"])
        return Outcome(Ending.RAISED, error=error, retry=False)
