"""What flows and schedules cost: {"what": "steps", "steps", "flows"}, {"what": "events", "flows"} or {"what": "schedules",
"schedules", "seconds"}, each with {"backend", "folder", "url", "prefix"}."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from jobhost.client import Client
from jobhost.config.document import Config
from jobhost.dispatch.host import Host
from jobhost.logs import set_up
from jobhost.queues.redis import RedisBackend
from jobhost.queues.schedules import Schedule, begun
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

PATIENCE = 240


def make_backend(setting: dict[str, Any]) -> Backend:
    if setting["backend"] == "redis":
        return RedisBackend(setting["url"], setting["prefix"])
    return SqliteBackend(Path(setting["folder"]) / "jobs.db")


async def host_of(setting: dict[str, Any], **handlers: tuple[Any, dict[str, Any]]) -> Host:
    """A host that has told what it subscribes to."""
    queues = {"default": {"keep_completed": "all", "concurrency": 64}}
    config = Config.model_validate({"queue_url": "memory://", "queues": queues})
    host = Host(config, backend=make_backend(setting), log=set_up(None, "error"))
    for name, (function, flow) in handlers.items():
        host.register(function, name, flow=flow)
    await host.start()
    await host.publisher.done.wait()
    return host


async def steps(setting: dict[str, Any]) -> dict[str, float]:
    """Microseconds of a step of flows whose steps follow each other, the flows one after the other."""
    most = setting["steps"]

    async def step(job: Any, ctx: Any) -> None:
        if job.data < most:
            await ctx.flow.emit("next", job.data + 1)

    more = {"name": "chain", "subscribes": ["next"], "emits": ["next"], "cycles": True}
    host = await host_of(setting, first=(step, {"name": "chain", "emits": ["next"]}), more=(step, more))
    async with Client(backend=host.backend) as client, asyncio.timeout(PATIENCE):
        began = time.perf_counter()
        for _ in range(setting["flows"]):
            await (await client.start_flow("chain", 1)).result()
        took = time.perf_counter() - began
    await host.stop()
    return {"us": took * 1e6 / (most * setting["flows"])}


FOLLOW = """
import asyncio, json, sys, time
from jobhost.queues.redis import RedisBackend
from jobhost.queues.sqlite import SqliteBackend
from jobhost.flow_handles import FlowHandle
from pathlib import Path

async def main(setting):
    url = setting["url"]
    backend = RedisBackend(url, setting["prefix"]) if setting["backend"] == "redis" else SqliteBackend(Path(setting["folder"]) / "jobs.db")
    await backend.open()
    async for event in FlowHandle(backend, setting["flow"]).follow():
        print(json.dumps([event["id"], event["type"], event["ts"], time.time()]), flush=True)
    await backend.close()

asyncio.run(main(json.loads(sys.argv[1])))
"""


async def events(setting: dict[str, Any]) -> dict[str, float]:
    """Milliseconds from what an event says of its time to its arrival at a follower in another process; a step every 20 ms."""
    count = setting["flows"]

    async def step(job: Any, ctx: Any) -> None:
        await asyncio.sleep(0.02)
        if job.data < count:
            await ctx.flow.emit("next", job.data + 1)

    more = {"name": "chain", "subscribes": ["next"], "emits": ["next"], "cycles": True}
    host = await host_of(setting, first=(step, {"name": "chain", "emits": ["next"]}), more=(step, more))
    async with Client(backend=host.backend) as client, asyncio.timeout(PATIENCE):
        flow = await client.start_flow("chain", 1)
        told = {**setting, "flow": flow.id}
        follower = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FOLLOW, json.dumps(told), stdout=subprocess.PIPE
        )
        out, _ = await follower.communicate()
    await host.stop()
    late = []
    for line in out.splitlines():
        number, _type, ts, arrived = json.loads(line)
        if number > 60:  # the first of them were there before the follower was
            late.append((arrived - datetime.fromisoformat(ts).timestamp()) * 1000)
    late.sort()
    return {"p50_ms": late[len(late) // 2], "p95_ms": late[len(late) * 95 // 100]}


async def schedules(setting: dict[str, Any]) -> dict[str, float]:
    """Processor time of an idle host whose store has many schedules, beyond that of the same host without, in per cent of a core."""
    host = await host_of(setting)
    idle = await _used(setting["seconds"])
    now = int(time.time() * 1000)
    for number in range(setting["schedules"]):
        schedule = Schedule(f"s{number}", "nobody", cron=f"{number % 60} {number % 24} * * *", tz="Europe/Berlin")
        await host.backend.put_schedule(begun(schedule, now))
    await asyncio.sleep(2)
    busy = await _used(setting["seconds"])
    await host.stop()
    return {"percent": busy, "without": idle}


async def _used(seconds: float) -> float:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await asyncio.sleep(seconds)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 100 * used / (ended - began)


def main() -> None:
    setting = json.loads(sys.argv[1])
    what = {"steps": steps, "events": events, "schedules": schedules}[setting["what"]]
    print(json.dumps(asyncio.run(what(setting))))


if __name__ == "__main__":
    main()
