"""Leases through whole hosts: kept for handlers that block, lost to another host, run out once too often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.admission import Admission
from jobhost.queues.job import Job, Lease, NewJob, Settlement
from jobhost.queues.seam import Backend

from tests.contract.hosting import PATIENCE, bundle, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
HOSTILE = Path(__file__).parents[1] / "fixtures" / "hostile"
LEASE_MS = 300
SHORT = {"default": {"lease": f"{LEASE_MS}ms", "stalled_interval": "50ms"}}


@pytest.mark.parametrize("name", ["blocks.sync", "blocks.async"])
async def test_a_handler_in_the_host_that_blocks_for_three_leases_keeps_its_job(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5: in-process handlers run apart from the loop that renews; another host on the same file gets nothing."""
    mine, theirs = make_backend("sqlite", tmp_path), make_backend("sqlite", tmp_path)
    renewed = 0
    renew = mine.renew

    async def counted(leases: Any, lease_ms: int) -> Any:
        nonlocal renewed
        renewed += len(leases)
        return await renew(leases, lease_ms)

    monkeypatch.setattr(mine, "renew", counted)
    table = {"path": HOSTILE / "blocks.py", "isolation": "none"}
    gate = tmp_path / "gate"
    async with hosted(mine, table, queues=SHORT) as first:
        id = await first.add(name, str(gate))
        await first.until(id, lambda job: job.state == "active")
        async with hosted(theirs, table, queues=SHORT) as second:
            with anyio.fail_after(PATIENCE):
                while renewed < 7:  # one each half lease: three leases and more
                    await anyio.sleep(0.01)
            held = await second.job(id)
            assert (held.state, held.stalled, held.host) == ("active", 0, first.host.id)
            gate.touch()
            job = await second.done(id)
            assert (result_of(job), job.attempts_made, job.stalled, job.host) == (1, 1, 0, first.host.id)


async def taken_over(backend: Backend, id: str) -> Job:
    """What another host does that thinks this one dead: the lease runs out, it recovers the job and claims it."""
    with anyio.fail_after(PATIENCE):
        while True:
            await backend.recover("default", 100)
            claims = (await backend.claim("default", 1, Admission(), 60_000, "another")).claims
            if claims:
                [claim] = claims
                assert claim.job.id == id
                lease = Lease("default", id, claim.token)
                assert await backend.settle([Settlement(lease, "completed", result=b'"theirs"')]) == [True]
                return claim.job
            await anyio.sleep(0.01)


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_a_run_that_lost_its_lease_is_cancelled_and_finishes_nothing(
    kind: str, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row: lease lost. The run is cancelled, and what it would have written is dropped."""
    backend = make_backend(kind, tmp_path)
    silent = True

    renew = backend.renew

    async def held_up(leases: Any, lease_ms: int) -> Any:
        """A host that was asleep: its renewals come too late."""
        return ["ok"] * len(leases) if silent else await renew(leases, lease_ms)

    monkeypatch.setattr(backend, "renew", held_up)
    table = bundle(language, limits={"grace": "100ms"})
    async with hosted(backend, table, queues={"default": {"lease": "200ms", "stalled_interval": "1h"}}) as serving:
        id = await serving.add("wait", attempts=5)
        await serving.logged(id, "waiting")
        old = await serving.job(id)
        assert old.host == serving.host.id
        other = await taken_over(backend, id)
        assert other.stalled == 1
        silent = False
        with anyio.fail_after(PATIENCE):
            while any(worker.live for worker in serving.host.workers.values()):
                await anyio.sleep(0.01)
        job = await serving.job(id)
        assert (job.state, job.result, job.attempts_made, job.host) == ("completed", b'"theirs"', 1, "another")


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_a_job_whose_hosts_die_too_often_fails(kind: str, tmp_path: Path) -> None:
    """Row: host dies. Above `max_stalled` the job fails with StalledError and is copied to the dead letters."""
    backend = make_backend(kind, tmp_path)
    queues = {"default": {**SHORT["default"], "max_stalled": 1, "dead_letter": "default.dead"}}
    async with hosted(backend, bundle("python"), queues=queues) as serving:
        serving.host.pause()
        [added] = await backend.add([NewJob("echo", b"1")])
        for _ in range(2):  # two hosts take it and are never heard of again
            with anyio.fail_after(PATIENCE):
                while not (await backend.claim("default", 1, Admission(), 1, "dead host")).claims:
                    await anyio.sleep(0.01)
        job = await serving.done(added.id)
        error = error_of(job)
        assert (job.state, job.attempts_made, job.stalled, error["type"]) == ("failed", 0, 2, "StalledError")
        copies, _ = await backend.jobs("default.dead")
        assert [json.loads(copy.data) for copy in copies] == [1]
