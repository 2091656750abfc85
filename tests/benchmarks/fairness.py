"""Keys that take turns: how long jobs of quiet keys wait beside a noisy one, and what limits by key cost."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

from .measure import Figures, Options, Row, in_turn, program
from .throughput_redis import serving

JOBS = 20_000
BACKLOG = 10_000
QUIET = 2_000
TENANTS = 100
HALF = 4
"""Places of the eight that the program's host has."""
KEYED: dict[str, Any] = {"key": "data.tenant", "per_key": {"concurrency": 50}}
_numbers = count(1)


def measure(options: Options) -> list[Row]:
    fastest = find_spec("uvloop") is not None
    rows: list[Row] = []
    with serving() as url:
        for store in ("memory", "sqlite", "redis"):
            quiet = options.count(QUIET)
            sides = {
                "limited": partial(_program, "fairness", store, url, backlog=BACKLOG, jobs=quiet, most=HALF),
                "full": partial(_program, "fairness", store, url, backlog=BACKLOG, jobs=quiet, most=None),
                "alone": partial(_program, "fairness", store, url, backlog=0, jobs=quiet, most=None),
            }
            found = in_turn(sides, options.rounds)
            alone = found["alone"]["p95_ms"]
            what = f"waiting time of 99 quiet keys beside one with {BACKLOG:,} jobs"
            limited = f"{what} and half of the places at most, p95, {store}"
            rows.append(Row(limited, found["limited"]["p95_ms"], "ms", alone, "without it", at_most=2))
            # Where the noisy key may fill the host, whoever comes waits for one of its runs to end.
            rows.append(Row(f"{what}, p95, {store}", found["full"]["p95_ms"], "ms", alone, "without it"))
        for store in ("memory", "sqlite", "redis"):
            host = partial(
                _program, "host", store, url, handler="noop", isolation="process", concurrency=64, tenants=TENANTS
            )
            jobs = options.count(JOBS)
            sides = {
                "keyed": partial(host, jobs=jobs, uvloop=fastest, settings=KEYED),
                "plain": partial(host, jobs=jobs, uvloop=fastest),
            }
            found = in_turn(sides, options.rounds)
            what = f"limits by key, 100 keys, isolated, {store}"
            rows.append(Row(what, found["keyed"]["per_s"], "jobs/s", found["plain"]["per_s"], "without", at_least=0.8))
    return rows


def _program(name: str, store: str, url: str, **settings: Any) -> Figures:
    with TemporaryDirectory() as folder:
        return program(
            name,
            backend=store,
            folder=folder,
            url=url if store == "redis" else "memory://",
            prefix=f"k{next(_numbers)}",
            **settings,
        )
