"""The same jobs from a SQLite file, with an fsync at each commit, beside huey's SQLite worker."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .measure import Figures, Options, Row, in_turn, program
from .servers import huey_environment, huey_serving, until_stamped

JOBS = 30_000
HUEY_JOBS = 5_000
CONCURRENCY = 64


def measure(options: Options) -> list[Row]:
    jobs = options.count(JOBS)
    fastest = find_spec("uvloop") is not None
    sides = {
        "host": partial(_host, jobs, fastest),
        "huey": partial(_huey, options.count(HUEY_JOBS)),
        "asyncio": partial(_host, jobs, False),
    }
    found = in_turn(sides, options.rounds)
    ours = found["host"]
    rows = [
        Row("isolated, SQLite with fsync", ours["per_s"], "jobs/s", found["huey"]["per_s"], "huey, SQLite", at_least=4),
        Row("host CPU per isolated job, SQLite", ours["cpu_us"], "us"),
    ]
    if fastest:
        slower = found["asyncio"]["per_s"]
        rows.append(Row("isolated, SQLite, uvloop in the host", ours["per_s"], "jobs/s", slower, "asyncio in the host"))
    return rows


def _host(jobs: int, uvloop: bool) -> Figures:
    with TemporaryDirectory() as folder:
        return program(
            "host",
            {"BENCH_LOG": f"{folder}/stamps"},
            handler="stamp",
            backend="sqlite",
            folder=folder,
            isolation="process",
            concurrency=CONCURRENCY,
            jobs=jobs,
            uvloop=uvloop,
        )


def _huey(jobs: int) -> Figures:
    with TemporaryDirectory() as name:
        folder = Path(name)
        program("huey_fill", huey_environment(folder), jobs=jobs, idle=False)
        with huey_serving(folder):
            at = until_stamped(folder / "huey-stamps", jobs)[jobs // 10 :]
        return {"per_s": (len(at) - 1) * 1e9 / (at[-1] - at[0])}
