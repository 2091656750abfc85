"""A thousand children that are killed leave nothing behind: no process, no descriptor, no folder, no user in use."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import anyio
import pytest
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes.isolation.users import users

from tests.contract.hosting import hosted
from tests.contract.test_children import pool_of

from .test_attacks import NEEDS_BWRAP
from .test_levels import bundle

pytestmark = pytest.mark.anyio
DEADLY = """
import os, signal

def handler(job, ctx):
    if job.data == "daemon" and os.fork() == 0:
        os.setsid()
        os.execv("/bin/sleep", ["left-behind", "300"])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left_over() -> dict[str, object]:
    gc.collect()
    states = []
    for thread in os.listdir("/proc/self/task"):
        for pid in Path(f"/proc/self/task/{thread}/children").read_text().split():
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    folders = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("jobhost-child-")]
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "zombies": states.count("Z"),
        "folders": len(folders),
        "users": len(users._taken),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("level", "kills", "reuse"),
    [
        ("process", 1_000, "always"),
        ("process", 1_000, "never"),
        ("restricted", 100, "always"),
        pytest.param("sandbox", 100, "always", marks=NEEDS_BWRAP),
    ],
)
async def test_kills_leave_nothing(level: str, kills: int, reuse: str, tmp_path: Path) -> None:
    """No zombie, no orphan, no leaked descriptor; each job fails with what happened, and the next child serves."""
    before = left_over()
    table = bundle(tmp_path / "b", level, DEADLY) | {"pool": {"children": 2, "reuse": reuse}}
    async with hosted(MemoryBackend(), table) as host:
        data = b'"daemon"' if level != "process" else b"null"
        for start in range(0, kills, 100):
            added = await host.backend.add(
                [NewJob("work", data, attempts=1) for _ in range(start, min(kills, start + 100))]
            )
            for one in added:
                with anyio.fail_after(120):
                    job = await host.until(one.id, lambda job: job.state == "failed")
                assert b"the child was killed by SIGKILL" in (job.error or b"")
        # Where each run gets a fresh child, as many may stand ready as may run.
        assert len(pool_of(host).children) <= (4 if reuse == "never" else 2)
    assert left_over() == before
