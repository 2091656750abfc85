"""Runs that use their host, flows of many steps, events on their way to another process, and many schedules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

from .measure import Figures, Options, Row, in_turn, program
from .throughput_redis import serving

JOBS = 12_000
CONCURRENCIES = (64, 200, 400)
"""Places of a host: a run that waits for two commits more wants more beside it. The best of them counts, for both sides."""
STEPS = 10_000
_numbers = count(1)


def measure(options: Options) -> list[Row]:
    fastest = find_spec("uvloop") is not None
    rows: list[Row] = []
    with serving() as url:
        for store in ("sqlite", "redis"):
            sides = {
                f"{handler}, {places}": partial(_host, store, url, handler, places, options.count(JOBS), fastest)
                for places in CONCURRENCIES
                for handler in ("noop", "flowing")
            }
            found = in_turn(sides, options.rounds)
            best = {
                handler: max(found[f"{handler}, {places}"]["per_s"] for places in CONCURRENCIES)
                for handler in ("noop", "flowing")
            }
            what = f"a state write, a log line and an emit in each run, isolated, {store}"
            rows.append(Row(what, best["flowing"], "jobs/s", best["noop"], "no-op", at_least=0.4))
        for store in ("sqlite", "redis"):
            steps = options.count(STEPS)
            sides = {
                "long": partial(_program, store, url, what="steps", steps=steps, flows=1),
                "short": partial(_program, store, url, what="steps", steps=100, flows=max(1, steps // 100)),
            }
            found = in_turn(sides, options.rounds)
            ours, peer = found["long"]["us"], found["short"]["us"]
            rows.append(Row(f"a step of a flow of {steps:,}, {store}", ours, "us", peer, "of 100", at_most=1.2))
        for store in ("sqlite", "redis"):
            told = _program(store, url, what="events", flows=options.count(300))
            rows.append(
                Row(f"from an event to a follower in another process, p95, {store}", told["p95_ms"], "ms", at_most=100)
            )
        for store in ("sqlite", "redis"):
            told = _program(store, url, what="schedules", schedules=10_000, seconds=5 if options.quick else 20)
            rows.append(Row(f"10,000 schedules on an idle host, {store}", told["percent"], "% of a core", at_most=1))
    return rows


@contextmanager
def _place() -> Iterator[tuple[str, str]]:
    with TemporaryDirectory() as folder:
        yield folder, f"f{next(_numbers)}"


def _host(store: str, url: str, handler: str, places: int, jobs: int, uvloop: bool) -> Figures:
    with _place() as (folder, prefix):
        return program(
            "host",
            handler=handler,
            backend=store,
            folder=folder,
            url=url if store == "redis" else "memory://",
            prefix=prefix,
            isolation="process",
            concurrency=places,
            jobs=jobs,
            uvloop=uvloop,
        )


def _program(store: str, url: str, **settings: Any) -> Figures:
    with _place() as (folder, prefix):
        return program("flows", backend=store, folder=folder, url=url, prefix=prefix, **settings)
