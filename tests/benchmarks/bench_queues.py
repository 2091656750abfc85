"""What the queues themselves cost, without a host: `python tests/benchmarks/bench_queues.py [--quick] [--folder DIR]`.

Rates of adding and of claim + settle, the cost of a claim beside many waiting or completed jobs, and how long it takes until
an idle process hears of a job that another has added. `--folder` says on which disk the files are.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, Keep, Lease, NewJob, Settlement
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

DATA = b'{"payload": "' + b"x" * 80 + b'"}'
Make = Callable[[], Backend]


@asynccontextmanager
async def opened(make: Make) -> AsyncIterator[Backend]:
    backend = make()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def fill(backend: Backend, count: int, name: str = "a") -> None:
    for start in range(0, count, 5_000):
        await backend.add([NewJob(name, DATA) for _ in range(min(5_000, count - start))])


async def claim(backend: Backend, batch: int, admission: Admission | None = None) -> list[Claim]:
    return (await backend.claim("default", batch, admission or Admission(), 60_000, "bench")).claims


def completion(claim: Claim, keep: Keep) -> Settlement:
    return Settlement(Lease("default", claim.job.id, claim.token), "completed", result=b"null", keep=keep)


async def enqueue_rate(make: Make, count: int, producers: int) -> float:
    """Single adds per second by so many producers at once."""
    async with opened(make) as backend:

        async def produce() -> None:
            for _ in range(count // producers):
                await backend.add([NewJob("a", DATA)])

        started = time.perf_counter()
        await asyncio.gather(*(produce() for _ in range(producers)))
        return count / (time.perf_counter() - started)


async def work_rate(make: Make, count: int, batch: int, workers: int) -> float:
    """Jobs claimed and completed per second, in batches, by workers that take turns as a host's claims and results do."""
    async with opened(make) as backend:
        await fill(backend, count)

        async def work() -> None:
            while claims := await claim(backend, batch):
                await backend.settle([completion(one, Keep(count=1_000)) for one in claims])

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(workers)))
        return count / (time.perf_counter() - started)


async def turn_cost(backend: Backend, batch: int, turns: int, admission: Callable[[], Admission]) -> float:
    """Median microseconds per job of claiming a batch and completing it."""
    took = []
    for _ in range(turns):
        started = time.perf_counter()
        claims = await claim(backend, batch, admission())
        await backend.settle([completion(one, Keep()) for one in claims])
        took.append((time.perf_counter() - started) / len(claims))
    return statistics.median(took) * 1e6


async def growth(make: Make, waiting: int, completed: int, full: int = 0) -> float:
    """The cost of a turn beside so many jobs; `full`: of a handler without a place, at the head of the line."""
    async with opened(make) as backend:
        await fill(backend, completed)
        while claims := await claim(backend, 5_000):
            await backend.settle([completion(one, Keep()) for one in claims])
        await fill(backend, full, "full")
        await fill(backend, waiting)
        admission = (lambda: Admission([(["full"], 0)])) if full else Admission
        await turn_cost(backend, 16, 20, admission)
        return await turn_cost(backend, 16, 40, admission)


async def wake_latency(file: Path, count: int) -> list[float]:
    """Milliseconds from the start of an add in another process to the wake here."""
    program = Path(__file__).parents[1] / "faults" / "sqlite_programs.py"
    async with opened(lambda: SqliteBackend(file)) as backend:
        woken = asyncio.Event()
        stop = backend.watch(["default"], lambda queue: woken.set())
        producer = subprocess.Popen(
            [sys.executable, program, "add", str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert producer.stdin is not None
        assert producer.stdout is not None
        await asyncio.to_thread(producer.stdout.readline)
        took = []
        for _ in range(count):
            await asyncio.sleep(0.005)
            woken.clear()
            producer.stdin.write(b"\n")
            producer.stdin.flush()
            await woken.wait()
            heard = time.time_ns()
            [claimed] = await claim(backend, 1)
            took.append((heard - int(claimed.job.data)) / 1e6)
        stop()
        producer.stdin.close()
        producer.wait()
    return took


async def single_latency(make: Make, count: int) -> list[float]:
    """Milliseconds of one add on an idle backend."""
    took = []
    async with opened(make) as backend:
        for _ in range(count):
            started = time.perf_counter()
            await backend.add([NewJob("a", DATA)])
            took.append((time.perf_counter() - started) * 1e3)
            await asyncio.sleep(0.001)
    return took


def show(what: str, value: float, unit: str) -> None:
    print(f"{what:66} {value:12,.2f} {unit}" if value < 100 else f"{what:66} {value:12,.0f} {unit}", flush=True)


async def measure(name: str, make: Make, scale: int) -> None:
    for producers in (1, 64):
        count = 20_000 // scale if producers > 1 else 2_000 // scale
        show(f"{name}: enqueue one by one, {producers} producers", await enqueue_rate(make, count, producers), "jobs/s")
    for batch, workers in ((1, 1), (16, 4), (64, 1), (64, 4), (256, 2)):
        count = 2_000 // scale if batch == 1 else 30_000 // scale
        what = f"{name}: claim + settle in batches of {batch}, {workers} workers"
        show(what, await work_rate(make, count, batch, workers), "jobs/s")
    many = 1_000_000 // (scale * scale)
    base = await growth(make, 2_000, 0)
    show(f"{name}: claim + settle of 16 beside 2,000 waiting", base, "us/job")
    for what, amounts in {
        f"{many:,} waiting": (many, 0),
        f"{many:,} completed": (2_000, many),
        f"{many // 10:,} of a full handler in front": (2_000, 0, many // 10),
    }.items():
        cost = await growth(make, *amounts)
        show(f"{name}: … beside {what} ({cost / base:.2f} x)", cost, "us/job")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs: does it still run?")
    parser.add_argument("--folder", type=Path, help="where the files are put (default: the system's)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        files = (Path(folder) / f"{n}.db" for n in range(1_000))
        scale = 10 if given.quick else 1
        await measure("memory", MemoryBackend, scale)
        await measure("sqlite", lambda: SqliteBackend(next(files)), scale)
        for what, took in {
            "sqlite: one add, nothing else going on": await single_latency(
                lambda: SqliteBackend(next(files)), 500 // scale
            ),
            "sqlite: from an add in another process to the wake": await wake_latency(next(files), 500 // scale),
        }.items():
            took.sort()
            show(f"{what}, p50", took[len(took) // 2], "ms")
            show(f"{what}, p99", took[len(took) * 99 // 100], "ms")


if __name__ == "__main__":
    asyncio.run(main())
