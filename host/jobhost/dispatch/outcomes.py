"""What becomes of a job after a run: the design's table of section 5 as one pure function.

The order of the cases is the order of the table. Nothing here waits, stores or logs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jobhost_runtimes.run import Ending, Outcome, host_error
from jobhost_sdk.durations import duration_text

from ..config.queues import QueueSettings
from ..queues.dead_letters import waiting_since
from ..queues.job import Job, Lease, Rate, Settlement

LEAST_POSTPONE_MS = 100
MOST_POSTPONES = 100
RATE_LIMITED_MS = 1_000
"""Pause of a job whose handler says that the queue is over its rate limit."""
VERSION_RELEASES = 20
"""How often a job that asks for another version is left for others, where unknown jobs fail: a quarter of an hour."""
RELEASE_FIRST_MS = 1_000
RELEASE_LONGEST_MS = 60_000


@dataclass(slots=True, frozen=True)
class Tries:
    """What holds for a job that failed: `attempts` at most, the wait in ms after so many failed ones, and when (Unix ms) the job is too
    old to begin another, if ever."""

    attempts: int
    wait_ms: Callable[[int, dict[str, Any]], int]
    now: int = 0
    expires_at: int | None = None


def moved(
    outcome: Outcome, lease: Lease, delay_until: int | None, now: int, rate: Rate | None = None
) -> Settlement | None:
    """What BullMQ's own errors ask for, known by their names; None if this is none of them. No attempt is used."""
    if outcome.ending is not Ending.RAISED or outcome.error is None:
        return None
    match outcome.error["type"]:
        case "DelayedError" if delay_until is not None:
            return Settlement(lease, "delayed", delay_ms=max(0, delay_until - now), attempt_used=False)
        case "RateLimitError" if rate is not None:
            return _given_back(lease)  # the queue's limit says when it comes again
        case "RateLimitError":
            return Settlement(lease, "delayed", delay_ms=RATE_LIMITED_MS, attempt_used=False)
    return None


def settlement(outcome: Outcome, job: Job, lease: Lease, tries: Tries, queue: QueueSettings) -> Settlement | None:
    """Decide. None: nothing may be written any more, the lease is lost."""
    match outcome.ending:
        case Ending.RETURNED:
            return Settlement(lease, "completed", result=outcome.result, keep=queue.keep_completed)
        case Ending.RAISED if type(outcome.retry) is int:
            return _postponed(outcome.retry, outcome, job, lease, tries, queue)
        case Ending.RAISED if outcome.retry is False:
            return failed(lease, outcome.error, queue)
        case Ending.RAISED | Ending.TIMED_OUT | Ending.DIED:
            return _retried(outcome.error, job, lease, tries, queue, outcome.ending is Ending.DIED)
        case Ending.BYSTANDER if outcome.suspect:
            return _suspected(outcome, job, lease, queue)
        case Ending.BYSTANDER | Ending.UNSTARTED:
            return _given_back(lease)
        case Ending.CANCELLED:
            return _cancelled(outcome.reason, lease, queue)
    raise AssertionError(outcome.ending)


def _retried(
    error: dict[str, Any] | None,
    job: Job,
    lease: Lease,
    tries: Tries,
    queue: QueueSettings,
    died: bool = False,
    delay: int | None = None,
) -> Settlement:
    """`died`: the job killed its child. `delay`: in ms, where the handler has said when to try again."""
    made = job.attempts_made + 1
    if made >= tries.attempts:
        return failed(lease, error, queue, child_death=died)
    if died and job.child_deaths + 1 >= queue.max_child_deaths:
        return failed(lease, _deadly(error, job), queue, child_death=True)
    if delay is None:
        delay = tries.wait_ms(made, error or {})
    if tries.expires_at is not None and tries.now + delay > tries.expires_at:
        return failed(lease, error, queue, child_death=died)
    to: Literal["delayed", "waiting"] = "delayed" if delay > 0 else "waiting"
    return Settlement(lease, to, error=as_json(error), delay_ms=delay, child_death=died)


def _postponed(delay: int, outcome: Outcome, job: Job, lease: Lease, tries: Tries, queue: QueueSettings) -> Settlement:
    """`RetryLater`: where no attempt is used it must not become a way to spin or to live for ever."""
    if delay < LEAST_POSTPONE_MS:
        text = f"RetryLater takes at least {LEAST_POSTPONE_MS} ms; the handler asked for {delay} ms"
        return _retried(host_error("RetryLater", text, "handler"), job, lease, tries, queue)
    if outcome.uses_attempt:
        return _retried(outcome.error, job, lease, tries, queue, delay=delay)
    if job.postponed >= MOST_POSTPONES:
        text = f"the handler asked to come back later {MOST_POSTPONES} times already"
        return _retried(host_error("RetryLater", text, "handler"), job, lease, tries, queue)
    return Settlement(lease, "delayed", delay_ms=delay, attempt_used=False, postponed=True)


def _suspected(outcome: Outcome, job: Job, lease: Lease, queue: QueueSettings) -> Settlement:
    if job.child_deaths + 1 >= queue.max_child_deaths:
        return failed(lease, _deadly(outcome.error, job), queue, attempt_used=False, child_death=True)
    return Settlement(lease, "waiting", error=as_json(outcome.error), attempt_used=False, child_death=True)


def _deadly(error: dict[str, Any] | None, job: Job) -> dict[str, Any]:
    """The error of a job that is not tried again since too many children died with it."""
    told = dict(error or {})
    told["message"] = f"{job.child_deaths + 1} children died with this job inside; {told.get('message', '')}"
    return told


def _given_back(lease: Lease) -> Settlement:
    return Settlement(lease, "waiting", attempt_used=False)


def _cancelled(reason: str, lease: Lease, queue: QueueSettings) -> Settlement | None:
    if reason == "lease_lost":
        return None
    if reason == "shutdown":
        return _given_back(lease)
    error = host_error("CancelledError", "the job was cancelled")
    return Settlement(lease, "failed", error=as_json(error), attempt_used=False, keep=queue.keep_failed)


def unknown_job(
    error: dict[str, Any], job: Job, lease: Lease, queue: QueueSettings, other_version: bool = False
) -> Settlement:
    """No handler has the job's name: fail it, or leave it for another host after a pause that grows. `other_version`: the handler is here,
    in another version than the job asks for: somebody is about to deploy it, or has not stopped it yet."""
    if queue.unknown_jobs == "fail" and not (other_version and job.released < VERSION_RELEASES):
        return failed(lease, error, queue, attempt_used=False)
    delay = min(RELEASE_LONGEST_MS, RELEASE_FIRST_MS << min(job.released, 6))
    return Settlement(lease, "delayed", delay_ms=delay, attempt_used=False, released=True)


def expired(job: Job, lease: Lease, queue: QueueSettings, now: int) -> Settlement | None:
    """What becomes of a job that is too old to begin; None for any other."""
    if queue.max_age is None or now - waiting_since(job) <= queue.max_age:
        return None
    age, most = duration_text(now - waiting_since(job)), duration_text(queue.max_age)
    error = host_error(
        "JobExpiredError", f"the job has waited for {age}; queue {job.queue!r} takes none over {most} (max_age)"
    )
    return failed(lease, error, queue, attempt_used=False)


def failed(
    lease: Lease,
    error: dict[str, Any] | None,
    queue: QueueSettings,
    attempt_used: bool = True,
    child_death: bool = False,
) -> Settlement:
    """A final failure, copied to the queue's dead letters if it has any."""
    return Settlement(
        lease,
        "failed",
        error=as_json(error),
        attempt_used=attempt_used,
        child_death=child_death,
        keep=queue.keep_failed,
        dead_letter=queue.dead_letter,
    )


def as_json(error: dict[str, Any] | None) -> bytes | None:
    """The stored form of an error. Lone surrogates, which a child can put into a message, become escapes."""
    return None if error is None else json.dumps(error, ensure_ascii=True).encode()


def brief(error: bytes | None) -> str:
    """Type and first line of a stored error, for the log."""
    if error is None:
        return ""
    loaded = json.loads(error)
    first = str(loaded.get("message", "")).split("\n", 1)[0]
    return f"{loaded.get('type')}: {first}"
