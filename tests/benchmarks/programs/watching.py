"""A host and many busy children: {"children", "spin", "seconds"}.

Prints the host's processor time as a part of one core, its loop's lag (ms, 99 of 100), and the seconds from a run's deadline to its
free place beyond the grace.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

from jobhost.cli.serve import _loop_factory
from jobhost.config.document import Config
from jobhost.dispatch import collector
from jobhost.dispatch.host import Host
from jobhost.logs import set_up
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes.pool import Pool
from jobhost_runtimes.strays import adopt_orphans

from tests.benchmarks.measure import HANDLERS

TICK = 0.005
GRACE = 0.2
TIMEOUT = 1.0
PATIENCE = 60


async def measure(children: int, spin: bool, seconds: float) -> dict[str, float]:
    adopt_orphans()
    table = {
        "path": HANDLERS / "hold",
        "pool": {"children": children + 1},
        "limits": {"grace": f"{GRACE}s", "cpu_time": "3600s"},
    }
    queues = {"default": {"concurrency": children + 1}}
    backend = MemoryBackend()
    config = Config.model_validate({"queue_url": "memory://", "bundles": [table], "queues": queues})
    host = Host(config, backend=backend, log=set_up(None, "critical"))
    await host.start()
    try:
        data = json.dumps({"spin": spin}).encode()
        await backend.add([NewJob("hold", data) for _ in range(children)])
        async with asyncio.timeout(PATIENCE):
            pool = host.bundles.runtimes[0]
            assert isinstance(pool, Pool)
            while sum(bool(child.runs) for child in pool.children) < children:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        lags, part = await lag(seconds)
        started = time.time()
        [late] = await backend.add([NewJob("hold", data, timeout_ms=int(TIMEOUT * 1000), attempts=1)])
        async with asyncio.timeout(PATIENCE):
            while (job := await backend.get("default", late.id)) is None or job.state != "failed":
                await asyncio.sleep(0.005)
        begun = (job.started_at or 0) / 1000
        over = time.time() - max(begun, started) - TIMEOUT - GRACE
    finally:
        await host.stop(now=True)
    return {"core": part, "lag_ms": lags[len(lags) * 99 // 100] * 1000, "over_s": over}


async def lag(seconds: float) -> tuple[list[float], float]:
    """How late a timer was, in order, and the part of a core that this process used meanwhile, the timer's own left out."""
    lags: list[float] = []
    used = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    part = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) / (time.perf_counter() - began)
    end = time.perf_counter() + seconds
    while (at := time.perf_counter()) < end:
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - at - TICK)
    return sorted(lags), part


def main() -> None:
    collector.calm()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        print(json.dumps(runner.run(measure(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
