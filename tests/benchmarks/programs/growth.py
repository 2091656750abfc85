"""Claims from a small and a large queue in turn. Prints medians in us.

{"backend", "folder", "url" of Postgres, "small", "large", "claims"}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, Lease, NewJob, Settlement
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

from tests.benchmarks.payload import payload

BATCH = 16
STEP = 5_000
LEASE_MS = 600_000
DATA = json.dumps(payload(0)).encode()


async def add(backend: Backend, jobs: int) -> None:
    for left in range(jobs, 0, -STEP):
        await backend.add([NewJob("noop", DATA) for _ in range(min(STEP, left))])


async def claim(backend: Backend, limit: int) -> list[Claim]:
    return (await backend.claim("default", limit, Admission(), LEASE_MS, "bench")).claims


async def complete(backend: Backend, claims: list[Claim]) -> None:
    ended = [Settlement(Lease("default", c.job.id, c.token), "completed", result=b"{}") for c in claims]
    assert all(await backend.settle(ended))


async def compare(small: Backend, large: Backend, claims: int, prefix: str) -> dict[str, float]:
    """Claim from both, and put as many jobs back as were taken, so that neither changes its size."""
    took: dict[str, list[float]] = {"small": [], "large": []}
    for _ in range(claims):
        for name, backend in (("small", small), ("large", large)):
            began = time.perf_counter()
            claimed = await claim(backend, BATCH)
            took[name].append(time.perf_counter() - began)
            await complete(backend, claimed)
            await add(backend, len(claimed))
    return {f"{prefix}_{name}": median(times) * 1e6 for name, times in took.items()}


def _store(setting: dict[str, Any], name: str) -> Backend:
    if setting["backend"] == "postgres":
        return PostgresBackend(f"{setting['url']}?schema={name}")
    return MemoryBackend() if setting["backend"] == "memory" else SqliteBackend(Path(setting["folder"]) / name)


async def measure(setting: dict[str, Any]) -> dict[str, float]:
    names = ("small", "large")
    small, large = (_store(setting, name) for name in names)
    await small.open()
    await large.open()
    await add(small, setting["small"])
    await add(large, setting["large"])
    waiting = await compare(small, large, setting["claims"], "waiting")
    # Now complete them, but for as many as wait in the small one.
    left = setting["large"] - setting["small"]
    while left > 0:
        claimed = await claim(large, min(STEP, left))
        await complete(large, claimed)
        left -= len(claimed)
    if setting["backend"] == "postgres":  # within a minute it would do so by itself
        with psycopg.connect(setting["url"], autocommit=True) as connection:
            connection.execute("VACUUM large.jobs")
    completed = await compare(small, large, setting["claims"], "completed")
    await small.close()
    await large.close()
    return waiting | completed


def main() -> None:
    print(json.dumps(asyncio.run(measure(json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
