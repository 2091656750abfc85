"""One meaning for a handler, wherever it runs: in the host, in a Python child, in a Node child."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from .hosting import Hosted, bundle, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
RUNTIMES = {
    "in-process": bundle("python", isolation="none"),
    "python": bundle("python"),
    "node": bundle("node"),
}
CHILDREN = ("python", "node")


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def backend_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def serving(runtime: str, backend_kind: str, tmp_path: Path) -> AsyncIterator[Hosted]:
    table = {**RUNTIMES[runtime], "limits": {"grace": "200ms"}}
    async with hosted(make_backend(backend_kind, tmp_path), table) as serving:
        yield serving


async def test_data_comes_in_and_the_result_goes_out_as_it_is(serving: Hosted) -> None:
    """A1, E1, E2: a job's name finds its handler, transparent to the handler where it runs."""
    data: dict[str, Any] = {"text": "äöü \u2028 😀", "n": [1, 2.5, -3, None, True, {"deep": [[]]}], "empty": ""}
    assert result_of(await serving.run("echo", data)) == data
    falsy: Any
    for falsy in (None, 0, "", [], {}, False):
        assert result_of(await serving.run("echo", falsy)) == falsy


async def test_the_handler_sees_its_job_and_attempt(serving: Hosted) -> None:
    """F1: the run context."""
    id = await serving.add("facts", {}, metadata=b'{"team": "a"}', priority=7, attempts=4)
    job = await serving.done(id)
    facts = result_of(job)
    key = facts.pop("key")
    assert key == f"default:{id}:{job.created_at}"
    assert facts == {
        "id": id,
        "name": "facts",
        "queue": "default",
        "attempt": 1,
        "max_attempts": 4,
        "priority": 7,
        "metadata": {"team": "a"},
        "has_deadline": True,
        "flow": None,
        "step": None,
    }


async def test_a_job_of_a_flow_has_its_ids(serving: Hosted) -> None:
    """F2: the step id is the flow, the job's name and the attempt."""
    facts = result_of(await serving.run("facts", {}, flow_id="f-1"))
    assert (facts["flow"], facts["step"]) == ("f-1", "f-1__facts__attempt-1")


async def test_what_fails_is_retried_and_then_done(serving: Hosted) -> None:
    """G1: a retried job completes; the error of the first attempt is gone."""
    job = await serving.run("fail_once", attempts=3)
    assert (result_of(job), job.attempts_made, job.error) == (2, 2, None)


async def test_what_always_fails_ends_with_the_error_of_the_last_attempt(serving: Hosted, runtime: str) -> None:
    """Row: handler raises."""
    job = await serving.run("fail", attempts=2)
    error = error_of(job)
    assert (job.state, job.attempts_made) == ("failed", 2)
    assert (error["type"], error["origin"]) == ("RangeError" if runtime == "node" else "ValueError", "handler")
    assert error["message"] == "no luck on attempt 2"
    assert ("fail.js" if runtime == "node" else "fail.py") in error["stack"]


async def test_unrecoverable_ends_at_once(serving: Hosted) -> None:
    """Row: UnrecoverableError."""
    job = await serving.run("never", attempts=5)
    assert (job.state, job.attempts_made) == ("failed", 1)
    assert (error_of(job)["type"], error_of(job)["message"]) == ("UnrecoverableError", "there is no card")


async def test_data_that_its_schema_refuses_fails_at_once_with_the_fields(serving: Hosted) -> None:
    """Row: input not valid."""
    assert result_of(await serving.run("checked", {"amount": 21})) == 42
    job = await serving.run("checked", {"amount": "many"}, attempts=5)
    error = error_of(job)
    assert (job.state, job.attempts_made, error["type"]) == ("failed", 1, "InvalidJobDataError")
    assert [item["field"] for item in error["fields"]] == ["amount"]


async def test_retry_later_uses_no_attempt(serving: Hosted) -> None:
    """Row: RetryLater."""
    job = await serving.run("later", attempts=1)
    assert (result_of(job), job.attempts_made, job.postponed) == ({"attempt": 1, "times": 3}, 1, 2)


async def test_a_result_that_json_cannot_carry_fails_with_its_path(serving: Hosted) -> None:
    """Trap: a value is refused with its path, and not mangled."""
    job = await serving.run("not_json", attempts=3)
    assert job.state == "failed"
    assert error_of(job)["message"].startswith("result.items[1].when: ")


async def test_state_outlives_a_failed_attempt(serving: Hosted) -> None:
    """E2: what was set is there in the next attempt."""
    job = await serving.run("remember", attempts=3)
    assert (result_of(job), job.attempts_made) == ([1, 2, 3], 3)


async def test_state_tells_missing_from_null_and_counts(serving: Hosted) -> None:
    """E2: every call of `ctx.state`."""
    assert result_of(await serving.run("state_tour")) == {
        "before": [None, "default", False],
        "stored": [None, True],
        "sums": [1, 42, 40],
        "keys": ["a", "n"],
        "gone": [True, False, False],
    }


async def test_state_changes_in_one_step(serving: Hosted) -> None:
    """E2: compare and set, and batches."""
    assert result_of(await serving.run("state_steps")) == {
        "missing": [False, True],
        "there": [False, True],
        "gone": [True, False],
        "results": [None, 5, 1, None, True, False],
        "refused": 5,
    }


async def test_progress_is_kept(serving: Hosted) -> None:
    """D5: a number or an object; the last one stays."""
    job = await serving.run("progress", [10, {"done": 3, "of": 4}])
    assert json.loads(job.progress or b"null") == {"done": 3, "of": 4}


async def test_an_unknown_name_fails_with_the_known_ones(serving: Hosted) -> None:
    """A6: UnknownJobTypeError lists the known names; no retry."""
    job = await serving.run("ehco", attempts=5)
    error = error_of(job)
    assert (job.state, job.attempts_made, error["type"], error["origin"]) == (
        "failed",
        0,
        "UnknownJobTypeError",
        "host",
    )
    assert "no handler is named 'ehco'; known here: " in error["message"]
    assert "echo, " in error["message"]


async def test_broken_files_are_problems_and_the_rest_is_served(serving: Hosted, runtime: str) -> None:
    """A5: a file with a syntax error or a missing import does not stop the rest; one without a handler is no problem."""
    problems = {Path(problem.file).name: problem for problem in serving.host.catalogue.problems}
    if runtime == "node":
        assert set(problems) == {"bad_syntax.js"}
        assert "SyntaxError" in problems["bad_syntax.js"].error
    else:
        assert set(problems) == {"bad_syntax.py", "bad_import.py"}
        assert problems["bad_syntax.py"].line == 1
        assert "a_module_that_is_not_there" in problems["bad_import.py"].error
    assert result_of(await serving.run("echo", 1)) == 1


async def test_what_a_handler_says_of_itself_is_known(serving: Hosted) -> None:
    """A3, A8: metadata with defaults, in the catalogue."""
    checked = serving.host.catalogue.named("checked")
    echo = serving.host.catalogue.named("echo")
    assert checked is not None
    assert echo is not None
    assert (checked.description, checked.version, checked.author) == ("Takes an amount.", "2.1.0", "Ada")
    assert (echo.description, echo.version, echo.author) == ("", "1.0.0", "Unknown")
    assert {"queue", "flow", "file", "language", "isolation"} <= checked.listing().keys()


async def test_a_cancelled_run_ends(serving: Hosted) -> None:
    """Row: cancelled by the user. The handler is told, and the work stops."""
    id = await serving.add("wait")
    await serving.logged(id, "waiting")
    assert await serving.backend.cancel("default", id) == "requested"
    job = await serving.done(id)
    assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 0, "CancelledError")


async def test_a_timeout_stops_the_work(serving: Hosted) -> None:
    """G2. Row: timeout."""
    job = await serving.run("wait", timeout_ms=100, attempts=1)
    error = error_of(job)
    assert (job.state, job.attempts_made, error["type"], error["origin"]) == ("failed", 1, "TimeoutError", "host")
    assert error["message"] == "the handler ran longer than its timeout of 100ms and was stopped"


async def test_a_host_that_stops_gives_its_jobs_back(runtime: str, backend_kind: str, tmp_path: Path) -> None:
    """L1. Row: host stops."""
    backend = make_backend(backend_kind, tmp_path)
    kept = backend if backend_kind == "memory" else make_backend(backend_kind, tmp_path)
    table: dict[str, Any] = {**RUNTIMES[runtime], "limits": {"grace": "200ms"}}
    async with hosted(backend, table, shutdown_timeout="300ms") as serving:
        id = await serving.add("wait")
        await serving.logged(id, "waiting")
        if kept is not backend:
            await kept.open()
        await serving.host.stop()
        job = await kept.get("default", id)
        assert job is not None
        assert (job.state, job.attempts_made) == ("waiting", 0)
    if kept is not backend:
        await kept.close()
