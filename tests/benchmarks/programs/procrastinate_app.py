"""The peer of the Postgres benchmark: {"url", "jobs", "concurrency"}. Adds no-op jobs, then works them, and prints how many a second."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

import procrastinate

from tests.benchmarks.payload import noop, payload

WARM_UP = 0.1
"""The part of the jobs after which the clock starts."""
STEP = 1_000


async def measure(url: str, jobs: int, concurrency: int) -> dict[str, float]:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
    ended: list[float] = []
    all_ended = asyncio.Event()

    @app.task(name="job")
    async def job(data: dict[str, Any]) -> dict[str, Any]:
        ended.append(time.perf_counter())
        if len(ended) == jobs:
            all_ended.set()
        return noop(data)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, jobs, STEP):
            some: list[Any] = [{"data": payload(n)} for n in range(start, min(jobs, start + STEP))]
            await job.batch_defer_async(*some)
        worker = asyncio.create_task(app.run_worker_async(concurrency=concurrency, install_signal_handlers=False))
        await all_ended.wait()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    measured = ended[int(jobs * WARM_UP) :]
    return {"per_s": (len(measured) - 1) / (measured[-1] - measured[0])}


def main() -> None:
    logging.disable(logging.INFO)
    print(json.dumps(asyncio.run(measure(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
