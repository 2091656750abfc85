"""Several hosts on one queue of a Redis server, killed again and again: each job completes once, none is lost."""

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
import redis
from jobhost.queues.job import NewJob
from jobhost.queues.redis import RedisBackend

from tests.redis_server import fresh_prefix, server_url

from .test_host_kills import HANDLER, PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(600)]
HOSTS = 4
JOBS = 20_000
KILLS = 12
SEED = 11

CONFIG = """
queue_url = "{url}"
prefix = "{prefix}"
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
"""


async def test_four_hosts_are_killed_and_each_job_completes_once(tmp_path: Path) -> None:
    """D7, C3: scale out by starting more. 20,000 jobs, a kill each time so many more have ended, and a count at the end."""
    prefix = fresh_prefix()
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "work.py").write_text(HANDLER)
    (tmp_path / "jobhost.toml").write_text(CONFIG.format(url=server_url(), prefix=prefix))
    chance = random.Random(SEED)
    backend = RedisBackend(server_url(), prefix)
    await backend.open()
    hosts = [_serve(tmp_path) for _ in range(HOSTS)]
    try:
        ids: list[str] = []
        for _ in range(0, JOBS, 1_000):
            ids += [one.id for one in await backend.add([NewJob("work", b'"ok"') for _ in range(1_000)])]
        for kill in range(1, KILLS + 1):
            await _completed(backend, kill * JOBS // (KILLS + 1))
            victim = chance.randrange(HOSTS)
            os.killpg(hosts[victim].pid, signal.SIGKILL)
            hosts[victim].wait(PATIENCE)
            hosts[victim] = _serve(tmp_path)
        await _completed(backend, JOBS)
        counts = await backend.counts("default")
        assert counts == {**dict.fromkeys(counts, 0), "completed": JOBS}
        with redis.Redis.from_url(server_url()) as raw:
            made = Counter(raw.hget(f"{prefix}:default:{id}", "atm") for id in ids)
            ends = Counter(
                fields[b"jobId"].decode()
                for _, fields in raw.xrange(f"{prefix}:default:events") or ()
                if fields[b"event"] == b"completed"  # the stream keeps the last ten thousand events
            )
        assert made == {b"1": JOBS}, "an attempt was used up by a kill"
        assert set(ends.values()) <= {1}, "a job was completed twice"
    finally:
        for host in hosts:
            host.kill()
            host.wait(PATIENCE)
        await backend.close()
    runs = Counter((tmp_path / "runs").read_text().split())
    assert set(runs) == set(ids)
    again = sum(runs.values()) - JOBS
    assert 0 < again <= KILLS * 64, "a kill may repeat what ran just then, and no more"


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobhost", "serve"],
        cwd=folder,
        env=os.environ | {"KILL_LOG": str(folder / "runs")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def _completed(backend: RedisBackend, wanted: int) -> None:
    with anyio.fail_after(4 * PATIENCE):
        while (await backend.counts("default"))["completed"] < wanted:
            await anyio.sleep(0.02)
