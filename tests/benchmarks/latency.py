"""From enqueue to the start of the handler on an idle host, on SQLite, beside huey: which polls, at growing intervals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from .measure import Figures, Options, Row, in_turn, program
from .servers import huey_environment, huey_serving, project, serving

JOBS = 40
EAGER = ("-d", "0.01", "-m", "0.01")


def measure(options: Options) -> list[Row]:
    jobs = 10 if options.quick else JOBS
    sides = {
        "same": partial(_same, jobs),
        "huey": partial(_huey, jobs),
        "other": partial(_other, jobs),
        "eager": partial(_huey, jobs, *EAGER),
    }
    found = {name: figures["p50_ms"] for name, figures in in_turn(sides, options.rounds).items()}
    same, other = "enqueue to start, same process, p50", "enqueue to start, another process, p50"
    eager = "huey polling every 10 ms"
    return [
        Row(same, found["same"], "ms", found["huey"], "huey", at_most=0.05),
        Row(other, found["other"], "ms", found["huey"], "huey", at_most=0.05),
        Row(same, found["same"], "ms", found["eager"], eager),
        Row(other, found["other"], "ms", found["eager"], eager),
    ]


def _same(jobs: int) -> Figures:
    with TemporaryDirectory() as folder:
        return program("latency", project(Path(folder), "stamp"), folder=folder, jobs=jobs, same=True)


def _other(jobs: int) -> Figures:
    with TemporaryDirectory() as folder:
        environment = project(Path(folder), "stamp")
        with serving(Path(folder), environment):
            return program("latency", environment, folder=folder, jobs=jobs, same=False)


def _huey(jobs: int, *options: str) -> Figures:
    with TemporaryDirectory() as name:
        folder = Path(name)
        with huey_serving(folder, *options):
            return program("huey_fill", huey_environment(folder), jobs=jobs, idle=True)
