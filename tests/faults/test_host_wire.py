"""A child that breaks the protocol, through the whole host: the run fails, the reason is said, the next child serves on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes import connection

from tests.contract.functions import Recorder
from tests.contract.hosting import error_of, hosted, result_of

pytestmark = pytest.mark.anyio
HOSTILE = Path(__file__).parents[1] / "fixtures" / "hostile"


def hostile(file: str, **pool: Any) -> dict[str, Any]:
    return {"path": HOSTILE / file, "limits": {"grace": "100ms"}, "pool": {"children": 1, **pool}}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("garbage", "the child was killed: it broke the protocol: not one MessagePack value"),
        ("half a frame", "the child exited with code 0 before the job was done"),
        ("oversized", "it broke the protocol: frame of 2147483647 bytes announced"),
        ("empty frame", "it broke the protocol: frame of 0 bytes announced"),
        ("another id", "it broke the protocol: an answer to request 99999, which is not open"),
        ("answers twice", "it broke the protocol: an answer to request 1, which is not open"),
        ("unknown calls", "it broke the protocol: it sent 10 unknown notifications"),
        ("extension", "the child was killed: it broke the protocol"),
    ],
)
async def test_a_broken_protocol_kills_the_child_and_names_the_reason(fault: str, said: str) -> None:
    """Row: child killed. E2: whatever is malformed ends the child, never the host; the run was alone, so it pays."""
    async with hosted(MemoryBackend(), hostile("wire.py")) as serving:
        job = await serving.run("wire", fault, attempts=2, timeout_ms=20_000)
        error = error_of(job)
        assert (job.state, job.attempts_made, error["type"], error["origin"]) == ("failed", 2, "ChildDied", "child")
        assert said in error["message"]
        assert result_of(await serving.run("wire", "none")) == "harmless"


async def test_what_is_said_for_another_run_reaches_no_job() -> None:
    """Fault: a run that the child does not have. Its line is the child's own, with who may have written it; progress is dropped."""
    log = Recorder()
    async with hosted(MemoryBackend(), hostile("wire.py"), log=log) as serving:
        job = await serving.run("wire", "another run")
        assert (result_of(job), job.progress) == ("harmless", None)
        assert await serving.backend.logs("default", job.id) == []
        [line] = log.of("child.output")
        assert (line["text"], line["candidates"]) == ("not mine", [f"default:{job.id}"])


async def test_an_answer_that_is_no_json_is_a_failure() -> None:
    """A result is stored as it came, so it has to be JSON."""
    async with hosted(MemoryBackend(), hostile("wire.py")) as serving:
        job = await serving.run("wire", "not JSON", attempts=1, timeout_ms=500)
        assert (error_of(job)["type"], error_of(job)["message"]) == (
            "ProtocolError",
            "the child answered with what is not JSON text",
        )


async def test_a_child_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: never reads. What waits for it is bounded; its runs come back, and the one to blame is found alone."""
    monkeypatch.setattr(connection, "STUCK_AFTER", 0.2)
    table = hostile("deaf.py", concurrency=16)
    async with hosted(MemoryBackend(), table, queues={"default": {"concurrency": 16}}) as serving:
        blocker = await serving.add("deaf", "block", attempts=1, timeout_ms=2_000)
        await serving.logged(blocker, "blocking")
        large = json.dumps("x" * 500_000).encode()
        added = await serving.backend.add([NewJob("deaf", large) for _ in range(10)])
        jobs = [await serving.done(one.id) for one in added]
        assert [result_of(job) for job in jobs] == ["read"] * 10
        assert max(job.child_deaths for job in jobs) >= 1, "the child was not given up"
        assert {job.attempts_made for job in jobs} == {1}
        dead = await serving.done(blocker)
        assert (dead.state, dead.attempts_made, error_of(dead)["type"]) == ("failed", 1, "TimeoutError")
