"""`kill -9` of a loaded host, again and again: every job ends once, none is lost, and what was completed never runs again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from jobhost.queues.job import Job, NewJob
from jobhost.queues.sqlite import SqliteBackend
from jobhost_runtimes.strays import descendants

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(600)]
KILLS = 25
AT_ONCE = 200
"""Jobs added before each start."""
PATIENCE = 60
SEED = 7

HANDLER = """
import os

def handler(job, ctx):
    log = os.open(os.environ["KILL_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{job.id}\\n".encode())
    os.close(log)
    if job.data == "fail" or (job.data == "retry" and job.attempt == 1):
        raise ValueError("no luck")
    return job.data
"""
CONFIG = """
queue_url = "sqlite:///jobs.db"
[[bundles]]
path = "handlers"
env = ["KILL_LOG"]
[bundles.pool]
children = 2
[queues.default]
concurrency = 8
attempts = 3
backoff = { type = "fixed", delay = "20ms", jitter = 0.0 }
lease = "1s"
stalled_interval = "200ms"
max_stalled = 1000
keep_completed = "all"
keep_failed = "all"
"""
KINDS = {"ok": ("completed", 1), "retry": ("completed", 2), "fail": ("failed", 3)}
"""Data of a job -> the state it must end in, and the attempts it must have used: a kill uses none."""


class Project:
    """A project on disk, and what its handlers have written down: one line for each time a job began."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "runs"
        self.log.touch()
        (folder / "handlers").mkdir()
        (folder / "handlers" / "work.py").write_text(HANDLER)
        (folder / "jobhost.toml").write_text(CONFIG)

    def runs(self) -> Counter[str]:
        return Counter(self.log.read_text().split())

    @contextmanager
    def serve(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "jobhost", "serve", *options],
                cwd=self.folder,
                env=os.environ | {"KILL_LOG": str(self.log)},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE)


async def all_jobs(backend: SqliteBackend) -> dict[str, Job]:
    found: list[Job] = []
    cursor: str | None = None
    while True:
        page, cursor = await backend.jobs("default", limit=1000, cursor=cursor)
        found += page
        if cursor is None:
            return {job.id: job for job in found}


async def gone(pids: list[int]) -> None:
    """Wait until processes are dead (a zombie, if nobody reaps it here, is)."""

    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    with anyio.fail_after(PATIENCE):
        while any(map(lives, pids)):
            await anyio.sleep(0.01)


async def test_a_loaded_host_is_killed_and_no_job_is_lost_or_runs_after_its_end(tmp_path: Path) -> None:
    """Row: host dies. C3, D7: jobs wait, run and end while the host is killed; an attempt is never used up by a kill."""
    project = Project(tmp_path)
    chance = random.Random(SEED)
    backend = SqliteBackend(tmp_path / "jobs.db")
    await backend.open()
    ended: dict[str, tuple[str, int]] = {}
    kinds: dict[str, str] = {}
    caught: Counter[str] = Counter()
    try:
        for _ in range(KILLS):
            names = chance.choices(list(KINDS), (6, 2, 1), k=AT_ONCE)
            added = await backend.add([NewJob("work", json.dumps(kind).encode()) for kind in names])
            kinds |= dict(zip((one.id for one in added), names, strict=True))
            began = project.runs().total()
            with project.serve() as host, anyio.fail_after(PATIENCE):
                wanted = began + chance.randint(1, AT_ONCE)
                while project.runs().total() < wanted:
                    assert host.poll() is None, (tmp_path / "stderr").read_text()[-2000:]
                    await anyio.sleep(0.001)
                children = descendants(host.pid)
                host.send_signal(signal.SIGKILL)
                host.wait()
            await gone(children)
            runs = project.runs()
            for id, (state, count) in ended.items():
                assert runs[id] == count, f"job {id} was {state} and ran again"
            for id, job in (await all_jobs(backend)).items():
                caught[job.state] += 1
                if job.state in ("completed", "failed"):
                    ended.setdefault(id, (job.state, runs[id]))
        with project.serve("--burst") as host:
            with anyio.fail_after(PATIENCE):
                code = await anyio.to_thread.run_sync(host.wait)
            assert code == 0, (tmp_path / "stderr").read_text()[-2000:]
        jobs = await all_jobs(backend)
    finally:
        await backend.close()
    runs = project.runs()
    assert len(jobs) == len(kinds) == KILLS * AT_ONCE
    assert all(caught[state] for state in ("waiting", "active", "completed", "failed")), "kills came at dull moments"
    wrong = {
        id: (job.state, job.attempts_made, kinds[id])
        for id, job in jobs.items()
        if (job.state, job.attempts_made) != KINDS[kinds[id]]
    }
    assert wrong == {}
    assert {id: runs[id] for id in ended} == {id: count for id, (_, count) in ended.items()}
    assert all(runs[id] >= jobs[id].attempts_made for id in jobs)
