"""Ten thousand dead letters are replayed by a command that is killed half way, and again: each job comes back once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobhost.queues.admission import Admission
from jobhost.queues.job import Keep, Lease, NewJob, Settlement
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

from tests.redis_server import fresh_prefix, server_url

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(300)]
LETTERS = 10_000
DEAD = "default.dead"
PATIENCE = 120


async def filled(backend: Backend) -> None:
    """Let many jobs fail for good; every second one is not kept itself."""
    for start in range(0, LETTERS, 1_000):
        await backend.add([NewJob("pay", b"%d" % number) for number in range(start, start + 1_000)])
        claimed = await backend.claim("default", 1_000, Admission(), 60_000, "host")
        assert len(claimed.claims) == 1_000
        settlements = [
            Settlement(
                Lease("default", one.job.id, one.token),
                "failed",
                error=b'{"type":"ConnectionError","message":"down"}',
                dead_letter=DEAD,
                keep=Keep(LETTERS // 2),
            )
            for one in claimed.claims
        ]
        assert all(await backend.settle(settlements))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_replay_that_was_killed_half_way_is_gone_on_with(kind: str, tmp_path: Path) -> None:
    """G3: no letter is lost and no job comes back twice."""
    prefix = fresh_prefix()
    url = server_url() if kind == "redis" else f"sqlite:///{tmp_path}/jobs.db"
    (tmp_path / "jobhost.toml").write_text(f'queue_url = "{url}"\nprefix = "{prefix}"\n')
    backend: Backend = RedisBackend(url, prefix) if kind == "redis" else SqliteBackend(tmp_path / "jobs.db")
    await backend.open()
    try:
        await filled(backend)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("JOBHOST_", "REDIS_"))}
        command = [sys.executable, "-m", "jobhost", "dead", "replay", "-q", DEAD, "--error", "ConnectionError"]
        first = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while (await backend.counts("default"))["waiting"] < LETTERS // 10:
            assert first.poll() is None
            assert time.monotonic() < deadline
        first.send_signal(signal.SIGKILL)
        first.wait()
        left = (await backend.counts(DEAD))["waiting"]
        assert 0 < left < LETTERS
        again = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert (again.returncode, again.stdout.strip()) == (0, str(left)), again.stderr
        assert (await backend.counts(DEAD))["waiting"] == 0
        counts = await backend.counts("default")
        assert (counts["waiting"], counts["failed"]) == (LETTERS, 0)
        seen = []
        while claims := (await backend.claim("default", 1_000, Admission(), 60_000, "host")).claims:
            seen += [int(one.job.data) for one in claims]
        assert sorted(seen) == list(range(LETTERS))
    finally:
        await backend.close()
