"""The design's table of what becomes of a job, row by row, as a pure function."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobhost.config.queues import QueueSettings
from jobhost.dispatch.outcomes import Tries, as_json, settlement, unknown_job
from jobhost.queues.job import Job, Keep, Lease, Settlement
from jobhost_runtimes.run import Ending, Outcome, host_error, timeout_verdict

LEASE = Lease("q", "1", "token")
QUEUE = QueueSettings("q", dead_letter="q.dead", max_child_deaths=3)


def job(**changes: Any) -> Job:
    made: dict[str, Any] = {
        "id": "1",
        "queue": "q",
        "name": "n",
        "data": b"{}",
        "state": "active",
        "priority": 0,
        "created_at": 0,
    }
    return Job(**{**made, **changes})


def decide(outcome: Outcome, attempts: int = 3, wait: int = 1000, **changes: Any) -> Settlement:
    decided = settlement(outcome, job(**changes), LEASE, Tries(attempts, lambda made, error: wait), QUEUE)
    assert decided is not None
    return decided


def error_of(decided: Settlement) -> dict[str, Any]:
    assert decided.error is not None
    loaded: dict[str, Any] = json.loads(decided.error)
    return loaded


BOOM = host_error("ValueError", "boom", "handler")


def test_a_handler_that_returns_completes_its_job() -> None:
    decided = decide(Outcome(Ending.RETURNED, result=b"7"))
    assert (decided.to, decided.result, decided.attempt_used, decided.keep) == ("completed", b"7", True, Keep(1000))


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Ending.RAISED, error=BOOM),
        timeout_verdict(30_000),
        Outcome(Ending.DIED, error=host_error("ChildDied", "killed by SIGKILL", "child")),
        Outcome(Ending.DIED, error=host_error("MemoryLimitError", "too much")),
    ],
    ids=lambda outcome: str(outcome.ending.value),
)
def test_what_fails_is_retried_after_its_backoff_and_fails_after_the_last_attempt(outcome: Outcome) -> None:
    """G1: attempts and backoff decide, whichever way the run failed."""
    again = decide(outcome, attempts=2, attempts_made=0)
    assert (again.to, again.delay_ms, again.attempt_used) == ("delayed", 1000, True)
    assert error_of(again) == outcome.error
    last = decide(outcome, attempts=2, attempts_made=1)
    assert (last.to, last.dead_letter, last.attempt_used) == ("failed", "q.dead", True)
    assert error_of(last) == outcome.error


def test_a_backoff_of_nothing_waits_at_once() -> None:
    assert decide(Outcome(Ending.RAISED, error=BOOM), wait=0).to == "waiting"


def test_the_wait_is_asked_for_with_the_attempts_made_so_far() -> None:
    """G1: own strategies get the number of failed attempts and the error."""
    asked: list[tuple[int, str]] = []

    def wait(made: int, error: dict[str, Any]) -> int:
        asked.append((made, error["type"]))
        return 5

    settlement(Outcome(Ending.RAISED, error=BOOM), job(attempts_made=1), LEASE, Tries(9, wait), QUEUE)
    assert asked == [(2, "ValueError")]


def test_unrecoverable_fails_now() -> None:
    decided = decide(Outcome(Ending.RAISED, error=BOOM, retry=False), attempts=5)
    assert (decided.to, decided.attempt_used, decided.dead_letter) == ("failed", True, "q.dead")


def test_retry_later_uses_no_attempt() -> None:
    decided = decide(Outcome(Ending.RAISED, error=BOOM, retry=300_000), attempts=1)
    assert (decided.to, decided.delay_ms, decided.attempt_used, decided.postponed) == ("delayed", 300_000, False, True)


def test_retry_later_of_less_than_100_ms_is_a_mistake() -> None:
    decided = decide(Outcome(Ending.RAISED, error=BOOM, retry=99), attempts=1)
    assert decided.to == "failed"
    assert error_of(decided)["message"] == "RetryLater takes at least 100 ms; the handler asked for 99 ms"


def test_retry_later_ends_after_100_times() -> None:
    assert decide(Outcome(Ending.RAISED, error=BOOM, retry=100), postponed=99).postponed
    decided = decide(Outcome(Ending.RAISED, error=BOOM, retry=100), postponed=100, attempts=1)
    assert decided.to == "failed"
    assert "100 times" in error_of(decided)["message"]


def test_suspects_go_back_without_an_attempt_until_too_many_children_died() -> None:
    died = Outcome(Ending.BYSTANDER, error=host_error("ChildDied", "killed", "child"), suspect=True)
    back = decide(died, child_deaths=0)
    assert (back.to, back.attempt_used, back.child_death) == ("waiting", False, True)
    third = decide(died, child_deaths=2)
    assert (third.to, third.attempt_used) == ("failed", False)
    assert error_of(third)["message"].startswith("3 children died with this job inside")


def test_bystanders_and_runs_that_never_began_go_back_unmarked() -> None:
    for outcome in (Outcome(Ending.BYSTANDER), Outcome(Ending.UNSTARTED), Outcome(Ending.CANCELLED, reason="shutdown")):
        decided = decide(outcome)
        assert (decided.to, decided.attempt_used, decided.child_death) == ("waiting", False, False)


def test_a_cancel_by_the_user_fails_without_an_attempt_and_without_a_dead_letter() -> None:
    decided = decide(Outcome(Ending.CANCELLED, reason="cancelled"))
    assert (decided.to, decided.attempt_used, decided.dead_letter) == ("failed", False, None)
    assert error_of(decided)["type"] == "CancelledError"


def test_a_lost_lease_writes_nothing() -> None:
    lost = Outcome(Ending.CANCELLED, reason="lease_lost")
    assert settlement(lost, job(), LEASE, Tries(3, lambda made, error: 0), QUEUE) is None


def test_unknown_names_fail_or_are_left_for_others() -> None:
    """A6: fail: kept with the error, no retry; release: a pause that grows from 1 s to 60 s."""
    error = host_error("UnknownJobTypeError", "no handler is named 'x'")
    decided = unknown_job(error, job(), LEASE, QUEUE)
    assert (decided.to, decided.attempt_used) == ("failed", False)
    release = QueueSettings("q", unknown_jobs="release")
    pauses = [unknown_job(error, job(released=n), LEASE, release).delay_ms for n in (0, 1, 2, 5, 6, 50)]
    assert pauses == [1000, 2000, 4000, 32_000, 60_000, 60_000]


def test_errors_are_stored_as_ascii_json() -> None:
    assert as_json({"message": "é\ud800"}) == b'{"message": "\\u00e9\\ud800"}'
    assert as_json(None) is None
