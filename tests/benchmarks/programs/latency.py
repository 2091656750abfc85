"""Enqueues to an idle host and waits: {"folder", "jobs", "same": with the host in this process, "idle": seconds before one more}.

Prints medians from enqueue to the start of the handler and to the result, and how long the job after the long idle time took to start.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from jobhost.cli.serve import _loop_factory
from jobhost.client import Client
from jobhost.config.load import Flags, load
from jobhost.dispatch.host import Host
from jobhost.logs import set_up

from tests.benchmarks.payload import payload, stamps

LONGEST_PAUSE = 0.2


@asynccontextmanager
async def client(setting: dict[str, Any]) -> AsyncIterator[Client]:
    folder = Path(setting["folder"])
    config = load(Flags(config=folder / "jobhost.toml")).config
    if not setting["same"]:
        async with Client(config=config) as jobs:
            yield jobs
        return
    host = Host(config, log=set_up(None, "info"))
    await host.start()
    async with Client(backend=host.backend, config=config) as jobs:
        yield jobs
    await host.stop(now=True)


async def measure(setting: dict[str, Any]) -> dict[str, float]:
    log = Path(os.environ["BENCH_LOG"])
    sent: dict[int, int] = {}
    results: list[float] = []
    async with client(setting) as jobs:
        await jobs.enqueue("stamp", payload(-1))
        async with asyncio.timeout(20):
            while -1 not in stamps(log):
                await asyncio.sleep(0.005)
        for n in range(setting["jobs"]):
            await asyncio.sleep(random.uniform(0.005, LONGEST_PAUSE))
            sent[n] = time.monotonic_ns()
            job = await jobs.enqueue("stamp", payload(n))
            await job.result(timeout="20s")
            results.append((time.monotonic_ns() - sent[n]) / 1e6)
        idle = setting["jobs"]
        await asyncio.sleep(setting.get("idle", 0))
        sent[idle] = time.monotonic_ns()
        await (await jobs.enqueue("stamp", payload(idle))).result(timeout="20s")
    started = stamps(log)
    delays = [(started[n] - at) / 1e6 for n, at in sent.items()]
    return {"p50_ms": median(delays[:-1]), "result_ms": median(results), "idle_ms": delays[-1]}


def main() -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        print(json.dumps(runner.run(measure(json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
