"""The servers that are measured from outside: `jobhost serve` and the consumer of huey."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .measure import HANDLERS, ROOT, clean_environment
from .payload import stamps

PATIENCE = 60


def project(folder: Path, *handlers: str, queue_url: str | None = None, prefix: str = "bull") -> dict[str, str]:
    """Write a configuration, on SQLite unless another queue is named; gives the environment that its handlers want."""
    bundles = "".join(f'[[bundles]]\npath = "{HANDLERS / name}"\nenv = ["BENCH_LOG"]\n' for name in handlers)
    url = queue_url or f"sqlite:///{folder}/jobs.db"
    (folder / "jobhost.toml").write_text(f'queue_url = "{url}"\nprefix = "{prefix}"\n{bundles}')
    return {"BENCH_LOG": str(folder / "stamps")}


def jobhost(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("jobhost")), *arguments]


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str], cwd: Path = ROOT) -> Iterator[int]:
    """A server for the length of a `with`: gives its process id."""
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=cwd, env=clean_environment(**environment), stdout=log, stderr=log)
        try:
            yield process.pid
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended:\n{(folder / 'server.log').read_text()[-2000:]}")
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[int]:
    with running(jobhost("serve", "--http", "off"), folder, environment, cwd=folder) as pid:
        yield pid


def huey_environment(folder: Path) -> dict[str, str]:
    return {"HUEY_FILE": str(folder / "huey.db"), "BENCH_LOG": str(folder / "huey-stamps")}


@contextmanager
def huey_serving(folder: Path, *options: str) -> Iterator[int]:
    """One thread, which is its best on SQLite: more of them wait for each other's lock."""
    consumer = [sys.executable, "-m", "huey.bin.huey_consumer", "tests.benchmarks.programs.huey_app.huey"]
    with running(
        [*consumer, "-k", "thread", "-w", "1", "-n", "--quiet", *options], folder, huey_environment(folder)
    ) as pid:
        yield pid


def until_stamped(log: Path, jobs: int) -> list[int]:
    """Wait until so many jobs have started; gives when, in order."""
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or log.stat().st_size < 16 * jobs:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{jobs} jobs did not start within {PATIENCE} s")
        time.sleep(0.005)
    return sorted(stamps(log).values())
