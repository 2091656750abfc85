"""How long jobs of quiet keys wait, on a host that a noisy key would fill.

{"backend", "folder", "url", "prefix", "backlog": jobs of the noisy key that wait from the beginning, "jobs": of 99 quiet ones,
"most": runs at once of each key, or null}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from jobhost.config.document import Config
from jobhost.dispatch.host import Host
from jobhost.logs import set_up
from jobhost.queues.job import NewJob

from tests.benchmarks.programs.host import make_backend

PATIENCE = 240
RUN = 0.002
"""Seconds that each job takes."""
PLACES = 8
PAUSE = 0.004
"""Seconds between quiet jobs: they alone keep an eighth of the places busy."""


class Uncounted:
    """The backends of the throughput program count; here nobody asks."""

    def count(self, settled: int) -> None:
        """Nothing."""


async def measure(setting: dict[str, Any]) -> dict[str, float]:
    waits: list[float] = []
    added: dict[int, float] = {}

    async def work(job: Any, ctx: Any) -> None:
        if job.data["tenant"] != "noisy":
            waits.append(time.perf_counter() - added[job.data["n"]])
        await asyncio.sleep(RUN)

    queues = {"default": {"concurrency": PLACES, "exclusive": True, "keep_completed": 100}}
    config = Config.model_validate({"queue_url": setting["url"], "queues": queues})
    backend = make_backend(setting)
    backend.meter = Uncounted()  # type: ignore[assignment]
    host = Host(config, backend=backend, log=set_up(None, "error"))
    per_key = {} if setting["most"] is None else {"per_key": {"concurrency": setting["most"]}}
    host.register(work, "work", key="data.tenant", **per_key)
    await host.start()
    try:
        async with asyncio.timeout(PATIENCE):
            await host.publisher.done.wait()
            for start in range(0, setting["backlog"], 1000):
                noisy = [NewJob("work", b'{"tenant":"noisy"}') for _ in range(min(1000, setting["backlog"] - start))]
                await backend.add(noisy)
            for n in range(setting["jobs"]):
                data = json.dumps({"tenant": f"quiet-{n % 99}", "n": n}).encode()
                added[n] = time.perf_counter()
                await backend.add([NewJob("work", data)])
                await asyncio.sleep(PAUSE)
            while len(waits) < setting["jobs"]:
                await asyncio.sleep(0.01)
    finally:
        await host.stop(now=True)
    waits.sort()
    return {"p95_ms": waits[int(len(waits) * 0.95)] * 1000, "p50_ms": waits[len(waits) // 2] * 1000}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(json.loads(sys.argv[1])))))
