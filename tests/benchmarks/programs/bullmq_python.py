"""The Worker of the PyPI package `bullmq`: {"url", "prefix", "jobs", "concurrency"}. Prints {"per_s"}."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from bullmq import Queue, Worker


async def main(setting: dict[str, Any]) -> dict[str, float]:
    open_options = {"connection": setting["url"], "prefix": setting["prefix"]}
    jobs = setting["jobs"]
    queue = Queue("bench", open_options)
    for start in range(0, jobs, 500):
        some = range(start, min(jobs, start + 500))
        await queue.addBulk([{"name": "noop", "data": {"n": n, "text": "x" * 40}} for n in some])
    done = 0
    first = 0.0
    finished = asyncio.Event()

    async def process(job: Any, token: str) -> None:
        return None

    def count(*_: Any) -> None:
        nonlocal done, first
        done += 1
        if done == jobs // 10:
            first = time.perf_counter()
        if done == jobs:
            finished.set()

    worker = Worker("bench", process, {**open_options, "concurrency": setting["concurrency"]})
    worker.on("completed", count)
    await finished.wait()
    took = time.perf_counter() - first
    await worker.close(True)
    await queue.close()
    return {"per_s": (jobs - jobs // 10) / took}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
