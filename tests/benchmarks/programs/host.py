"""Empties a full queue through a whole host.

{"handler", "backend", "folder", "url" of Postgres or Redis, "prefix" of Redis, "isolation", "concurrency", "jobs", "uvloop",
"settings": of the handler, "tenants": how many each job's data names one of, "profile": how many functions to list on stderr}
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import pstats
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobhost.config.document import Config
from jobhost.dispatch import collector
from jobhost.dispatch.host import Host
from jobhost.logs import set_up
from jobhost.queues.job import NewJob, Settlement
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

from tests.benchmarks.measure import HANDLERS
from tests.benchmarks.payload import payload

WARM_UP = 0.1
"""The part of the jobs after which the clock starts: by then all children run."""


PATIENCE = 120
"""Seconds for all jobs."""


class Meter:
    """Counts settled batches, which costs a job nothing."""

    def __init__(self, jobs: int, profiler: cProfile.Profile | None) -> None:
        self.jobs = jobs
        self.first = int(jobs * WARM_UP)
        self.done = 0
        self.began: tuple[int, float, float] | None = None
        self.ended = (0, 0.0, 0.0)
        self.finished = asyncio.Event()
        self._profiler = profiler

    def count(self, settled: int) -> None:
        self.done += settled
        if self.began is None and self.done >= self.first:
            self.began = self._now()
            if self._profiler is not None:
                self._profiler.enable()
        if self.done >= self.jobs:
            if self._profiler is not None:
                self._profiler.disable()
            self.ended = self._now()
            self.finished.set()

    def figures(self) -> dict[str, float]:
        assert self.began is not None
        jobs = self.ended[0] - self.began[0]
        return {"per_s": jobs / (self.ended[1] - self.began[1]), "cpu_us": (self.ended[2] - self.began[2]) * 1e6 / jobs}

    def _now(self) -> tuple[int, float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return self.done, time.perf_counter(), used.ru_utime + used.ru_stime


class Memory(MemoryBackend):
    meter: Meter

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        held = await super().settle(settlements)
        self.meter.count(sum(held))
        return held


class Sqlite(SqliteBackend):
    meter: Meter

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        held = await super().settle(settlements)
        self.meter.count(sum(held))
        return held


class Postgres(PostgresBackend):
    meter: Meter

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        held = await super().settle(settlements)
        self.meter.count(sum(held))
        return held


class Redis(RedisBackend):
    meter: Meter

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        held = await super().settle(settlements)
        self.meter.count(sum(held))
        return held


def make_backend(setting: dict[str, Any]) -> Memory | Sqlite | Postgres | Redis:
    match setting["backend"]:
        case "memory":
            return Memory()
        case "sqlite":
            return Sqlite(Path(setting["folder"]) / "jobs.db")
        case "postgres":
            return Postgres(setting["url"])
    return Redis(setting["url"], setting["prefix"])


async def fill(backend: Backend, handler: str, jobs: int, tenants: int = 0) -> None:
    """Add the jobs beforehand, to a file through a backend of its own: the host opens its backend itself, and only once."""
    shared = isinstance(backend, MemoryBackend)
    if not shared:
        await backend.open()
    more = [{"tenant": f"tenant-{n}"} for n in range(tenants)] or [{}]
    new = [NewJob(handler, json.dumps(payload(n) | more[n % len(more)]).encode()) for n in range(jobs)]
    for start in range(0, jobs, 1000):
        await backend.add(new[start : start + 1000])
    if not shared:
        await backend.close()


async def measure(setting: dict[str, Any]) -> dict[str, float]:
    # A child that is replaced every 1,000 runs, as by default, would measure starts; those have a benchmark of their own.
    handler = setting.get("handler", "noop")
    name = handler.removesuffix("_node")
    table = {
        "path": HANDLERS / handler,
        "env": ["BENCH_LOG"],
        "isolation": setting["isolation"],
        "pool": {"children": 2, "max_runs": 10_000_000, "concurrency": max(64, setting["concurrency"] // 2)},
    }
    queues = {"default": {"concurrency": setting["concurrency"], "exclusive": bool(setting.get("settings"))}}
    settings = {name: setting.get("settings") or {}}
    url = setting.get("url", "memory://")
    config = Config.model_validate({"queue_url": url, "bundles": [table], "queues": queues, "handlers": settings})
    jobs = setting["jobs"]
    profiler = cProfile.Profile() if setting.get("profile") else None
    backend = make_backend(setting)
    backend.meter = Meter(jobs, profiler)
    filled = time.perf_counter()
    await fill(
        backend if setting["backend"] == "memory" else make_backend(setting), name, jobs, setting.get("tenants", 0)
    )
    filled = time.perf_counter() - filled
    host = Host(config, backend=backend, log=set_up(None, "info"), queues=["default"])
    try:
        await host.start()
        async with asyncio.timeout(PATIENCE):
            await backend.meter.finished.wait()
    except TimeoutError:
        counts = await backend.counts("default")
        raise RuntimeError(f"{backend.meter.done} of {jobs} jobs ended within {PATIENCE} s; now {counts}") from None
    finally:
        await host.stop(now=True)
    if host.failed:
        raise RuntimeError(f"{host.failed} jobs failed")
    if profiler is not None:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(setting["profile"])
    return {**backend.meter.figures(), "add_per_s": jobs / filled}


def main() -> None:
    setting = json.loads(sys.argv[1])
    collector.calm()  # as `serve` does
    if setting.get("uvloop"):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(measure(setting))))
    else:
        print(json.dumps(asyncio.run(measure(setting))))


if __name__ == "__main__":
    main()
