"""A host that kills itself at the n-th step of its conversation with the store, and one that goes on after it: a program.

`python -m tests.faults.crash_points URL PREFIX CYCLES`: runs a flow CYCLES times, each time with a host that dies one step later than
the last one did (counted modulo all steps there are), and counts what came of it. A step is: before and after each statement of
SQLite and Postgres, COMMIT included; before each write to Redis, and between the moment its reply is there and the moment it is read.

Hosts are forked from this process, which has no threads of its own: a start costs milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import redis
import structlog
from jobhost.config.document import Config
from jobhost.dispatch.host import Host
from jobhost.flow_handles import FlowHandle
from jobhost.queues.flows import NewFlow, Subscriber
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.redis import RedisBackend
from jobhost.queues.redis.connection import Connection
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend, schema

PATIENCE = 30
"""Seconds that one host may take."""
SHIFT_MS = 3_600_000
"""How far the clock of each next host is ahead of the one before: the leases of the dead have run out."""
PARTS = "abc"
JOBS = {"place": 1, "part": 3, "instant": 1, "ship": 1, "after": 1}
EVENTS = {
    "flow.started": 1,
    "flow.completed": 1,
    "step.completed": sum(JOBS.values()),
    "step.emitted": len(PARTS) + 2 + len(PARTS) + 1,
}
"""What each run of the flow must come to, and nothing twice. `step.emitted`: the parts, the instant one and the sub-flow of the first
step, what each part emits, and the end of the sub-flow."""


class Death:
    """Counts steps, and kills the process at one of them. 0: never."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def wire(death: Death) -> None:
    """Count the steps of this process's stores from here on."""

    class Counted(sqlite3.Connection):
        def execute(self, *args: Any) -> Any:
            death.step()
            try:
                return super().execute(*args)
            finally:
                death.step()

    def connect(path: Path, busy_ms: int) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=busy_ms / 1000, isolation_level=None, factory=Counted)

    schema._connect = connect
    execute = psycopg.Connection.execute

    def counted_execute(self: psycopg.Connection, *args: Any, **options: Any) -> Any:
        death.step()
        try:
            return execute(self, *args, **options)
        finally:
            death.step()

    psycopg.Connection.execute = counted_execute  # type: ignore[method-assign, assignment]
    flush, received = Connection._flush, Connection.data_received

    def counted_flush(self: Connection) -> None:
        death.step()
        flush(self)

    def counted_received(self: Connection, data: bytes) -> None:
        death.step()
        received(self, data)

    Connection._flush = counted_flush  # type: ignore[method-assign]
    Connection.data_received = counted_received  # type: ignore[method-assign]


async def place(job: Any, ctx: Any) -> None:
    await ctx.flow.emit("instant", 1, immediate=True)
    for part in PARTS:
        await ctx.flow.emit("part", part)
    await ctx.flow.start("sub")


async def part(job: Any, ctx: Any) -> None:
    await ctx.flow.emit(f"done.{job.data}", job.data)


async def echo(job: Any, ctx: Any) -> Any:
    return job.data


def handlers() -> dict[str, tuple[Any, dict[str, Any]]]:
    return {
        "place": (place, {"name": "crash"}),
        "part": (part, {"name": "crash", "subscribes": ["part"], "emits": [f"done.{part}" for part in PARTS]}),
        "instant": (echo, {"name": "crash", "subscribes": ["instant"]}),
        "ship": (echo, {"name": "crash", "subscribes": [f"done.{part}" for part in PARTS], "join": "all"}),
        "after": (echo, {"name": "crash", "subscribes": ["flow:sub"]}),
        "sub": (echo, {"name": "sub"}),
    }


def backend_of(url: str, prefix: str, ahead_ms: int) -> Backend:
    def clock() -> int:
        return int(time.time() * 1000) + ahead_ms

    if url.startswith("redis"):
        return RedisBackend(url, prefix, clock)
    if url.startswith("postgresql"):
        return PostgresBackend(url, clock)
    return SqliteBackend(Path(url), clock)


async def serve(url: str, prefix: str, ahead_ms: int, flow_id: str) -> None:
    """A host, until the flow has ended."""
    backend = backend_of(url, prefix, ahead_ms)
    options = {"attempts": 1, "keep_completed": "all", "keep_failed": "all", "stalled_interval": "1s"}
    settings = {"queue_url": "memory://", "http": "off", "shutdown_timeout": "2s", "queues": {"default": options}}
    host = Host(Config.model_validate(settings), backend=backend)
    for name, (function, flow) in handlers().items():
        given = {**flow, "emits": flow.get("emits", ["instant", "part"])}
        host.register(function, name, flow=given)
    await host.start()
    await backend.start_flow(NewFlow(flow_id, "crash", first=(Subscriber("place", "default"),)))
    async with asyncio.timeout(PATIENCE):
        await FlowHandle(backend, flow_id).result()
    await check(backend, flow_id)
    await host.stop()


async def check(backend: Backend, flow_id: str) -> None:
    """Raise AssertionError if anything was lost or doubled."""
    jobs = await backend.flow_jobs(flow_id)
    assert Counter(job.name for job in jobs) == JOBS, [(job.name, job.state) for job in jobs]
    assert all(job.state == "completed" for job in jobs), [(job.name, job.state) for job in jobs]
    parts = sorted(json.loads(job.data) for job in jobs if job.name == "part")
    assert parts == list(PARTS), parts
    [child] = await backend.flow_children(flow_id)
    assert child.status == "completed", child
    assert [job.name for job in await backend.flow_jobs(child.id)] == ["sub"]
    events = Counter(event.type for event in await backend.flow_events(flow_id))
    told = {type: events[type] for type in EVENTS}
    assert told == EVENTS, told


def forked(url: str, prefix: str, ahead_ms: int, flow_id: str, death_at: int) -> tuple[int, int]:
    """Run a host in a child process. Gives its wait status, and how many steps it took if it lived."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            signal.alarm(PATIENCE * 2)
            death = Death(death_at)
            wire(death)
            asyncio.run(serve(url, prefix, ahead_ms, flow_id))
            os.write(writer, b"%d" % death.steps)
            code = 0
        except BaseException:  # noqa: BLE001 - the parent is told by the exit code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    told = os.read(reader, 32)
    os.close(reader)
    return os.waitpid(pid, 0)[1], int(told or b"0")


def let_leases_end(url: str, prefix: str) -> None:
    """On Redis leases are keys that live for a time."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter(match=f"{prefix}:*:lock", count=1000):
                client.delete(key)


structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main(url: str, prefix: str, cycles: int) -> int:
    status, steps = forked(url, prefix, 0, "dry", 0)
    if status or not steps:
        print("the flow does not even run without a death")
        return 1
    died = lived = 0
    for cycle in range(cycles):
        at = cycle % steps + 1
        ahead = 2 * cycle * SHIFT_MS
        status, _ = forked(url, prefix, ahead, f"c{cycle}", at)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            died += 1
        elif status == 0:
            lived += 1  # it had less to say this time
        else:
            print(f"cycle {cycle}: the host that was to die at step {at} ended with {status}")
            return 1
        let_leases_end(url, prefix)
        status, _ = forked(url, prefix, ahead + SHIFT_MS, f"c{cycle}", 0)
        if status:
            print(
                f"cycle {cycle}: after a death at step {at} of {steps} the flow did not come to what it must: {status}"
            )
            return 1
    print(json.dumps({"cycles": cycles, "died": died, "lived": lived, "steps": steps}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
