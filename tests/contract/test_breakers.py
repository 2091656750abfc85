"""Bundles whose children do not start: their breaker opens, is told, and closes once children work again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.cli.handlers import told_by_hosts
from jobhost.config.document import Config
from jobhost.dispatch import bundles
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.sqlite import SqliteBackend
from jobhost_runtimes import backoff

from .functions import Recorder
from .hosting import PATIENCE, Hosted, hosted, result_of
from .test_pools import frail

pytestmark = pytest.mark.anyio
SHORT_LIVED = """
import os, threading

def setup(ctx):
    if os.path.exists({flag!r}):
        threading.Timer(0.05, os._exit, (9,)).start()

def handler(job, ctx):
    return os.getpid()
"""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.02)
    monkeypatch.setattr(bundles, "RELOAD_PAUSE", 0.02)


async def said(log: Recorder, event: str) -> dict[str, Any]:
    with anyio.fail_after(PATIENCE):
        while not log.of(event):
            await anyio.sleep(0.01)
    return log.of(event)[0]


async def breaker(host: Hosted, wanted: bool) -> dict[str, Any] | None:
    """What the host tells others of its one bundle, once that is as wanted."""
    with anyio.fail_after(PATIENCE):
        while True:
            for info in await host.backend.hosts():
                [bundle] = json.loads(info.info or b"{}").get("bundles", ()) or [{}]
                if bundle and (bundle["breaker"] is not None) == wanted:
                    found: dict[str, Any] | None = bundle["breaker"]
                    return found
            await anyio.sleep(0.01)


async def test_a_breaker_opens_is_told_and_closes(tmp_path: Path) -> None:
    """A bundle that can't be loaded from the start on: jobs of its names wait, and use no attempt."""
    table, flag = frail(tmp_path)
    flag.touch()
    log = Recorder()
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with hosted(SqliteBackend(tmp_path / "jobs.db"), table, log=log) as host:
        id = await host.add("frail", attempts=1)
        opened = await said(log, "bundle.breaker_open")
        assert (opened["failures"], opened["bundle"]) == (bundles.OPENS_AT, table["path"].name)
        told = await breaker(host, True)
        assert told is not None
        assert "it exited with code 3 before it answered" in told["error"]
        assert "the license server does not answer" in told["error"]
        _, [line] = await told_by_hosts(Config.model_validate({"queue_url": url}))
        assert f"the breaker of bundle {table['path'].name} is open after {told['failures']} failed starts" in line
        job = await host.job(id)
        assert (job.state, job.attempts_made) == ("waiting", 0)
        flag.unlink()
        result_of(await host.done(id))
        await said(log, "bundle.breaker_closed")
        assert await breaker(host, False) is None
        assert (await told_by_hosts(Config.model_validate({"queue_url": url})))[1] == []
        assert len(log.of("bundle.breaker_open")) == 1


async def test_children_that_start_and_die_idle_open_it_too(tmp_path: Path) -> None:
    """A crash loop: that a child has answered is no sign that it works."""
    flag = tmp_path / "flag"
    flag.touch()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "short.py").write_text(SHORT_LIVED.format(flag=str(flag)))
    log = Recorder()
    table = {"path": tmp_path / "bundle", "pool": {"children": 1}}
    async with hosted(MemoryBackend(), table, log=log) as host:
        await said(log, "bundle.breaker_open")
        flag.unlink()
        id = await host.add("short", attempts=20)
        result_of(await host.done(id))
        await said(log, "bundle.breaker_closed")


async def test_no_queue_no_breakers(tmp_path: Path) -> None:
    """`jobhost handlers` needs no queue: none is made, and one that is gone is nobody's fault."""
    file = tmp_path / "none" / "jobs.db"
    assert await told_by_hosts(Config.model_validate({"queue_url": f"sqlite:///{file}"})) == (set(), [])
    assert not file.parent.exists()
    assert await told_by_hosts(Config.model_validate({"queue_url": "redis://127.0.0.1:1/0"})) == (set(), [])
