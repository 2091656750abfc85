"""A fresh process for every job: {"jobs", "isolation", "at_once"}; isolation null is a plain `python -c` with JSON over pipes.

Prints jobs a second with so many at once, and the median of one job alone on an idle host, from enqueue to result, in ms.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from jobhost.cli.serve import _loop_factory
from jobhost.client import Client
from jobhost.config.document import Config
from jobhost.dispatch import collector
from jobhost.dispatch.host import Host
from jobhost.logs import set_up
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes.strays import adopt_orphans

from tests.benchmarks.measure import HANDLERS
from tests.benchmarks.payload import payload

ALONE = 30
PAUSE = 0.1
"""Seconds between jobs that run alone: by then the next process stands ready."""
CODE = "import json, sys; job = json.load(sys.stdin); json.dump({'ok': True, 'n': job['n']}, sys.stdout)"


def spawned(jobs: int, at_once: int) -> dict[str, float]:
    def one(n: int) -> None:
        done = subprocess.run([sys.executable, "-c", CODE], input=json.dumps(payload(n)).encode(), capture_output=True)
        assert json.loads(done.stdout)["n"] == n

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(at_once)))
        began = time.perf_counter()
        list(pool.map(one, range(jobs)))
        return {"per_s": jobs / (time.perf_counter() - began)}


async def fresh(jobs: int, isolation: str, at_once: int) -> dict[str, float]:
    adopt_orphans()
    table: dict[str, Any] = {"path": HANDLERS / "noop", "isolation": isolation}
    table["pool"] = {"children": at_once, "reuse": "never"}
    backend = MemoryBackend()
    config = Config.model_validate({"queue_url": "memory://", "bundles": [table]})
    host = Host(config, backend=backend, log=set_up(None, "warning"))
    await host.start()
    async with Client(backend=backend, config=config) as client:
        for n in range(at_once * 2):
            await (await client.enqueue("noop", payload(n))).result(timeout="30s")
        began = time.perf_counter()
        handles = [await client.enqueue("noop", payload(n)) for n in range(jobs)]
        for handle in handles:
            await handle.result(timeout="120s")
        per_s = jobs / (time.perf_counter() - began)
        alone: list[float] = []
        for n in range(ALONE):
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            await (await client.enqueue("noop", payload(n))).result(timeout="30s")
            alone.append(time.perf_counter() - began)
    await host.stop()
    return {"per_s": per_s, "alone_ms": median(alone) * 1000}


def main() -> None:
    setting = json.loads(sys.argv[1])
    if setting["isolation"] is None:
        print(json.dumps(spawned(setting["jobs"], setting["at_once"])))
        return
    collector.calm()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        print(json.dumps(runner.run(fresh(setting["jobs"], setting["isolation"], setting["at_once"]))))


if __name__ == "__main__":
    main()
