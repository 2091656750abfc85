"""From enqueue to the start of the handler and to its result on an idle host, on Redis, beside BullMQ's own Node worker."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from .measure import Figures, Options, Row, clean_environment, in_turn, program
from .servers import project, serving
from .throughput_redis import PROGRAMS, _prefix
from .throughput_redis import serving as redis_server

JOBS = 60
IDLE = 120
"""Seconds of nothing before one more job: a worker whose wait has gone blind does not see it for seconds."""


def measure(options: Options) -> list[Row]:
    jobs, idle = (10, 2) if options.quick else (JOBS, IDLE)
    with redis_server() as url:
        found = in_turn({"jobhost": partial(_host, url, jobs, 0), "node": partial(_node, url, jobs)}, options.rounds)
        after_idle = _host(url, 1, idle)["idle_ms"]
    ours, node = found["jobhost"], found["node"]
    peer = "BullMQ Node in-process"
    return [
        Row("Redis, enqueue to start, p50", ours["p50_ms"], "ms", node["p50_ms"], peer, at_most=1),
        Row("Redis, enqueue to result, p50", ours["result_ms"], "ms", node["result_ms"], peer),
        Row("Redis, enqueue to result, p50", ours["result_ms"], "ms", at_most=3.6),
        Row(f"Redis, start after {idle} s of nothing", after_idle, "ms", at_most=50),
    ]


def _host(url: str, jobs: int, idle: float) -> Figures:
    with TemporaryDirectory() as folder:
        environment = project(Path(folder), "stamp", queue_url=url, prefix=_prefix())
        with serving(Path(folder), environment):
            return program("latency", environment, folder=folder, jobs=jobs, same=False, idle=idle)


def _node(url: str, jobs: int) -> Figures:
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("Node.js was not found: BullMQ can't be measured")
    setting = json.dumps({"url": url, "prefix": _prefix(), "jobs": jobs})
    command = [node, str(PROGRAMS / "latency_node.js"), setting]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=300, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures
