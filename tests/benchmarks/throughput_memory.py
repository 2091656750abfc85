"""No-op jobs through a whole host on the memory queue, beside the process pools of the standard library."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from .measure import Options, Row, in_turn, program

JOBS = 50_000
"""For every side alike: `imap` with fewer is over in a fifth of a second, and its figures are a lottery."""
CONCURRENCY = 64


def measure(options: Options) -> list[Row]:
    jobs = options.count(JOBS)
    fastest = find_spec("uvloop") is not None
    host = partial(
        program, "host", backend="memory", isolation="process", concurrency=CONCURRENCY, jobs=jobs, uvloop=fastest
    )
    sides = {
        "host": host,
        "executor": partial(program, "pools", pool="executor", jobs=jobs),
        "imap": partial(program, "pools", pool="imap", jobs=jobs),
        "in-process": partial(host, isolation="none"),
        "asyncio": partial(host, uvloop=False),
    }
    found = in_turn(sides, options.rounds)
    ours = found["host"]["per_s"]
    rows = [
        Row("isolated, memory queue", ours, "jobs/s", found["executor"]["per_s"], "ProcessPoolExecutor(2)", at_least=5),
        Row("isolated, memory queue", ours, "jobs/s", found["imap"]["per_s"], "Pool(2).imap_unordered", at_least=1.2),
        Row("isolated, memory queue", ours, "jobs/s", found["in-process"]["per_s"], "jobhost in-process", at_least=0.6),
        Row("host CPU per isolated job", found["host"]["cpu_us"], "us", at_most=40),
        Row("host CPU per job in-process", found["in-process"]["cpu_us"], "us"),
    ]
    if fastest:
        slower = found["asyncio"]
        rows += [
            Row("isolated, uvloop in the host", ours, "jobs/s", slower["per_s"], "asyncio in the host"),
            Row("host CPU per isolated job, asyncio", slower["cpu_us"], "us", at_most=40),
        ]
    return rows
