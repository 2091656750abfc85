"""bull-board, the dashboard that teams with BullMQ have, looks at jobhost's jobs in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.redis import RedisBackend

from tests.redis_server import CLUSTER, fresh_prefix, server_url

from .bullmq_peer import Peer, bullmq
from .hosting import PATIENCE, hosted

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(CLUSTER, reason="the board's own connection is to one server"),
]
CHARGE = """
def handler(job, ctx):
    ctx.logger.info("charging", amount=job.data["amount"])
    ctx.progress(40)
    if job.data["amount"] > 100 and not ctx.state.get("tried"):
        ctx.state.set("tried", True)
        raise ValueError("card declined")
    return {"charged": job.data["amount"]}
"""


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
def board(prefix: str) -> Iterator[Peer]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        said = "NO CHROMIUM WAS FOUND (Debian: apt install chromium): bull-board is not tested"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    with bullmq(prefix, "board.js", chromium, "default") as peer:
        peer.greeting()
        yield peer


async def test_the_board_shows_what_happened_and_its_retry_works(board: Peer, prefix: str, tmp_path: Path) -> None:
    """L2, I2: results, logs, progress, failures with their stacks, workers; and a failed job is run again from there."""
    (tmp_path / "charge.py").write_text(CHARGE)

    async def on_board(path: str, *texts: str) -> str:
        await board.do("open", path=path)
        for text in texts:
            await board.do("see", text=text)
        return str(await board.do("text"))

    backend = RedisBackend(server_url(), prefix)
    options: dict[str, Any] = {"queue_url": "redis://localhost"}
    async with hosted(backend, {"path": tmp_path}, **options) as host:
        good = await host.run("charge", {"amount": 50})
        bad = await host.run("charge", {"amount": 500})
        assert (good.state, bad.state) == ("completed", "failed")

        completed = await on_board("/queue/default?status=completed", "charged:")
        assert f"#{good.id}" in completed
        assert "amount:50" in completed
        assert "40%" in completed
        assert f"by {host.host.id}" in completed.replace("\n", " ")

        failed = await on_board("/queue/default?status=failed", "ValueError: card declined")
        assert f"#{bad.id}" in failed
        assert 'charge.py", line 7, in handler' in failed
        await board.do("press", text="Logs")
        await board.do("see", text="charging amount=500")

        await board.do("retryFirst")
        await board.do("press", text="Confirm")
        again = await host.until(bad.id, lambda job: job.state == "completed")
        assert again.result == b'{"charged":500}'
        with anyio.fail_after(PATIENCE):
            while f"#{bad.id}" not in await on_board("/queue/default?status=completed", "charged:"):
                await anyio.sleep(0.05)
