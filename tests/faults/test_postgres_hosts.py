"""Several hosts on one queue of a Postgres server, killed again and again: each job completes once, none is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest
from jobhost.queues.job import NewJob
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.schedules import Fired, Firing, Schedule, begun, firing

from tests.contract.backends import TurnedClock
from tests.postgres_server import fresh_url

from .test_host_kills import HANDLER, PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
SEED = 11

CONFIG = """
queue_url = "{url}"
[[bundles]]
path = "handlers"
env = ["KILL_LOG"]
[bundles.pool]
children = 1
[queues.default]
concurrency = 16
attempts = 3
lease = "1s"
stalled_interval = "300ms"
max_stalled = 1000
keep_completed = "all"
"""
SUBSCRIBER = """
config = {"name": "after", "flow": {"name": "kills", "subscribes": ["step:work"]}}

def handler(job, ctx):
    return job.data
"""


class Hosts:
    """Processes that serve one project."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.url = fresh_url()
        (folder / "handlers").mkdir()
        (folder / "handlers" / "work.py").write_text(HANDLER)
        (folder / "handlers" / "after.py").write_text(SUBSCRIBER)
        (folder / "jobhost.toml").write_text(CONFIG.format(url=self.url))
        self._processes = [self._serve() for _ in range(count)]

    def _serve(self) -> subprocess.Popen[bytes]:
        with (self.folder / "serve.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jobhost", "serve"],
                cwd=self.folder,
                env=os.environ | {"KILL_LOG": str(self.folder / "runs")},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_one(self, chance: random.Random) -> None:
        """SIGKILL a host with its children, and start another."""
        victim = chance.randrange(len(self._processes))
        os.killpg(self._processes[victim].pid, signal.SIGKILL)
        self._processes[victim].wait(PATIENCE)
        self._processes[victim] = self._serve()

    def close(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


async def completed(backend: PostgresBackend, count: int) -> None:
    """Wait until so many jobs have completed."""
    with anyio.fail_after(PATIENCE * 3):
        while (await backend.counts("default"))["completed"] < count:
            await anyio.sleep(0.02)


@pytest.mark.parametrize(("hosts", "jobs", "kills"), [(2, 600, 3), pytest.param(4, 10_000, 12, marks=pytest.mark.long)])
async def test_hosts_are_killed_and_each_job_completes_once(hosts: int, jobs: int, kills: int, tmp_path: Path) -> None:
    """D7, C3, F5: scale out by starting more. Every job completes once, with one attempt, and emits once, whoever dies."""
    chance = random.Random(SEED)
    running = Hosts(tmp_path, hosts)
    try:
        backend = PostgresBackend(running.url)
        await backend.open()
        with anyio.fail_after(PATIENCE):
            while len(await backend.published()) < 2:
                await anyio.sleep(0.02)
        ids: list[str] = []
        for _ in range(0, jobs, 200):
            new = [NewJob("work", b'"ok"', flow_id=f"f{n % 20}", flow_name="kills") for n in range(200)]
            ids += [one.id for one in await backend.add(new)]
        for kill in range(1, kills + 1):
            await completed(backend, kill * 2 * jobs // (kills + 1))
            await anyio.to_thread.run_sync(running.kill_one, chance)
        await completed(backend, 2 * jobs)
        counts = await backend.counts("default")
        assert counts == {**dict.fromkeys(counts, 0), "completed": 2 * jobs}
        found = [await backend.get("default", id) for id in ids]
        assert Counter((job.state, job.attempts_made) for job in found if job) == {("completed", 1): jobs}
        flows, _ = await backend.flows()
        assert {flow.status for flow in flows} == {"completed"}
        names: Counter[str] = Counter()
        for flow in flows:
            names.update(job.name for job in await backend.flow_jobs(flow.id))
        assert names == {"work": jobs, "after": jobs}
        await backend.close()
    finally:
        running.close()


async def test_a_schedule_of_many_hosts_fires_each_tick_once() -> None:
    """C5: a tick is one job, however many hosts see that it is due at once."""
    clock = TurnedClock()
    url = fresh_url()
    backends = [PostgresBackend(url, clock) for _ in range(4)]
    for backend in backends:
        await backend.open()
    await backends[0].put_schedule(begun(Schedule("pulse", "beat", every_ms=1_000), clock.now))
    fired: list[Fired | None] = []

    async def fire(backend: PostgresBackend, told: Firing) -> None:
        fired.append(await backend.fire(told))

    for tick in range(1, 26):
        clock.advance(1_000)
        [due], _ = await backends[0].due_schedules(9)
        told = firing(due, clock.now)
        assert told is not None
        async with anyio.create_task_group() as tasks:
            for backend in backends:
                tasks.start_soon(fire, backend, told)
        assert sum(one is not None for one in fired) == tick
    assert (await backends[0].counts("default"))["waiting"] == 25
    for backend in backends:
        await backend.close()
