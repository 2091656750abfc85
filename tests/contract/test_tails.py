"""Logs as they come, from whichever host writes them: `jobs logs -f`, `flow logs -f`, by level and step."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.client import Client
from jobhost.errors import JobNotFoundError
from jobhost.tail import flow_lines, job_lines

from .functions import serving
from .hosting import PATIENCE, make_backend

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_lines_of_a_job_are_followed_from_another_process(kind: str, tmp_path: Path) -> None:
    """K1: a tail that ends with the job; each line once, in order; what is below the level is left out."""
    go = threading.Event()

    def chatty(job: Any, ctx: Any) -> None:
        ctx.logger.info("one")
        ctx.logger.debug("unheard")
        assert go.wait(PATIENCE)
        ctx.logger.warning("two", n=2)

    async with serving(make_backend(kind, tmp_path), {"chatty": chatty}):
        other = make_backend(kind, tmp_path)
        await other.open()
        async with Client(backend=other) as client:
            job = await client.enqueue("chatty")
            heard: list[str] = []
            with anyio.fail_after(PATIENCE):
                async for line in job_lines(client, job.id, level="info", follow=True):
                    heard.append(line["message"])
                    go.set()  # it goes on once the first line is heard
            assert heard == ["one", "two"]
            again = [line["message"] async for line in job_lines(client, job.id)]
            assert again == ["one", "unheard", "two"]
            with pytest.raises(JobNotFoundError):
                [line async for line in job_lines(client, "no such job", follow=True)]
        await other.close()


async def test_lines_of_a_flow_are_followed_over_its_jobs(kind: str, tmp_path: Path) -> None:
    """F3: each with its step; only those of a step, if one is asked for."""

    async def first(job: Any, ctx: Any) -> None:
        ctx.logger.info("begun")
        await ctx.flow.emit("next", 1)

    async def second(job: Any, ctx: Any) -> None:
        ctx.logger.error("ended")

    steps = {
        "first": (first, {"flow": {"name": "f", "emits": ["next"]}}),
        "second": (second, {"flow": {"name": "f", "subscribes": ["next"]}}),
    }
    async with serving(make_backend(kind, tmp_path), steps) as host:
        with anyio.fail_after(PATIENCE):
            await host.host.publisher.done.wait()
        other = make_backend(kind, tmp_path)
        await other.open()
        async with Client(backend=other) as client:
            flow = await client.start_flow("f")
            with anyio.fail_after(PATIENCE):
                heard = [(line["step"], line["message"]) async for line in flow_lines(client, flow.id, follow=True)]
            assert heard == [("first", "begun"), ("second", "ended")]
            some = [line["message"] async for line in flow_lines(client, flow.id, step="first")]
            assert some == ["begun"]
            loud = [line["step"] async for line in flow_lines(client, flow.id, level="warning")]
            assert loud == ["second"]
        await other.close()
