"""Schedules of real hosts: jobs come by the clock, from the configuration and by the client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.client import Client
from jobhost.errors import ConfigurationError, ScheduleNotFoundError

from .functions import Recorder, echo, serving
from .hosting import PATIENCE, make_backend

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def until_completed(client: Client, count: int, queue: str = "default") -> None:
    with anyio.fail_after(PATIENCE):
        while (await client.counts(queue))["completed"] < count:
            await anyio.sleep(0.01)


async def test_a_schedule_of_the_configuration_gives_jobs_to_its_handler(kind: str, tmp_path: Path) -> None:
    """C5: in jobhost.toml, in the handler's own queue; what the file no longer has is gone with the next start."""
    backend = make_backend(kind, tmp_path)
    schedules = {
        "pulse": {"job": "echo", "every": "100ms", "data": {"n": 1}},
        "far": {"job": "echo", "cron": "0 3 1 1 *", "tz": "Europe/Berlin", "overlap": "skip"},
    }
    async with (
        serving(backend, {"echo": (echo, {"queue": "clock"})}, schedules=schedules) as host,
        Client(backend=host.backend) as client,
    ):
        await until_completed(client, 3, "clock")
        far, pulse = await client.schedules.list()
        assert (far["id"], far["tz"], far["overlap"], far["runs"]) == ("far", "Europe/Berlin", "skip", 0)
        assert (pulse["job"], pulse["queue"], pulse["every"], pulse["data"]) == ("echo", "clock", "100ms", {"n": 1})
        assert pulse["source"].startswith("config:")
        assert pulse["runs"] >= 3
    if kind == "memory":
        return
    log = Recorder()
    async with (
        serving(make_backend(kind, tmp_path), {"echo": echo}, log=log, schedules={"far": schedules["far"]}) as host,
        Client(backend=host.backend) as client,
    ):
        with anyio.fail_after(PATIENCE):
            while not log.of("schedule.removed"):
                await anyio.sleep(0.01)
        assert [one["id"] for one in await client.schedules.list()] == ["far"]


async def test_the_client_puts_pauses_runs_and_removes(kind: str, tmp_path: Path) -> None:
    """C5: by Client."""
    async with serving(make_backend(kind, tmp_path), {"echo": echo}) as host, Client(backend=host.backend) as client:
        added = await client.schedules.put("pulse", "echo", {"n": 1}, every="100ms", jitter="20ms", attempts=2)
        assert (added["runs"], added["jitter"], added["attempts"], added["source"]) == (0, "20ms", 2, None)
        await until_completed(client, 2)
        await client.schedules.pause("pulse")
        paused = await client.schedules.get("pulse")
        assert (paused["paused"], paused["next_at"]) == (True, None)
        ran = await client.schedules.run("pulse")
        assert await ran.result(timeout="20s") == {"n": 1}
        assert (await client.schedules.get("pulse"))["runs"] == paused["runs"]
        await client.schedules.resume("pulse")
        await until_completed(client, paused["runs"] + 3)
        soon = datetime.now(UTC) + timedelta(milliseconds=200)
        await client.schedules.put("once", "echo", "once", at=soon)
        with anyio.fail_after(PATIENCE):
            while "once" in [one["id"] for one in await client.schedules.list()]:
                await anyio.sleep(0.01)
        job = client.handle(f"repeat:once:{int(soon.timestamp() * 1000)}")
        assert await job.result(timeout="20s") == "once"
        assert await client.schedules.remove("pulse")
        assert not await client.schedules.remove("pulse")
        for work in (client.schedules.pause, client.schedules.run, client.schedules.get):
            with pytest.raises(ScheduleNotFoundError):
                await work("pulse")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cron": "x"}, ValueError, "is no cron expression"),
        ({"every": "1s", "cron": "* * * * *"}, ValueError, "one of cron, every and at"),
        ({"at": datetime(2030, 1, 1)}, ValueError, "give it a time zone"),  # noqa: DTZ001 - that it has none is the point
        ({"every": "1s", "bullmq": True}, ConfigurationError, "works on Redis"),
        ({"cron": "* * * * *", "bullmq": True, "overlap": "skip"}, ValueError, "BullMQ knows cron, tz and every"),
        ({"evry": "1s"}, TypeError, "unknown option 'evry'"),
    ],
)
async def test_what_cannot_be_scheduled_is_said(
    options: Any, error: type[Exception], text: str, tmp_path: Path
) -> None:
    async with Client(f"sqlite:///{tmp_path}/jobs.db") as client:
        with pytest.raises(error, match=text):
            await client.schedules.put("s", "echo", **options)
        assert await client.schedules.list() == []
