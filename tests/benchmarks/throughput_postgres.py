"""The same jobs from a Postgres server as it is by default, with an fsync at each commit, beside procrastinate's worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from tests.postgres_server import Instance

from .measure import Figures, Options, Row, in_turn, program

JOBS = 30_000
PROCRASTINATE_JOBS = 2_000
CONCURRENCY = 64
PROCRASTINATE_CONCURRENCY = 10
"""Its best."""


def measure(options: Options) -> list[Row]:
    server = Instance()
    schemas = (f"bench{n}" for n in count())
    try:
        sides: dict[str, Callable[[], Figures]] = {
            "host": lambda: _host(f"{server.url}?schema={next(schemas)}", options.count(JOBS)),
            "procrastinate": partial(_procrastinate, server, options.count(PROCRASTINATE_JOBS)),
        }
        found = in_turn(sides, options.rounds)
    finally:
        server.close()
    ours, peer = found["host"], found["procrastinate"]["per_s"]
    return [
        Row("isolated, Postgres with fsync", ours["per_s"], "jobs/s", peer, "procrastinate, not isolated", at_least=10),
        Row("host CPU per isolated job, Postgres", ours["cpu_us"], "us"),
        Row("added to Postgres, 1,000 at once", ours["add_per_s"], "jobs/s"),
    ]


def _host(url: str, jobs: int) -> Figures:
    setting = {"backend": "postgres", "url": url, "isolation": "process", "uvloop": False}
    return program("host", None, handler="noop", concurrency=CONCURRENCY, jobs=jobs, **setting)


def _procrastinate(server: Instance, jobs: int) -> Figures:
    server.ask("DROP DATABASE IF EXISTS peer WITH (FORCE)")
    server.ask("CREATE DATABASE peer")
    url = server.url.rpartition("/")[0] + "/peer"
    return program("procrastinate_app", url=url, jobs=jobs, concurrency=PROCRASTINATE_CONCURRENCY)
