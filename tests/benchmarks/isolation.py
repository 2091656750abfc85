"""What isolation costs: throughput and starts of a sandbox, a fresh process for every run, and the watch over many children."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from jobhost_runtimes.strays import descendants

from .measure import HANDLERS, Figures, Options, Row, in_turn, program
from .payload import payload
from .servers import jobhost, running

JOBS = 30_000
FRESH = 400
SPARES = 8
SETTLE = 0.5
"""Seconds for children that are on their way to come or go."""


def measure(options: Options) -> list[Row]:
    jobs, fresh = options.count(JOBS), options.count(FRESH)
    cores = os.cpu_count() or 1
    host = partial(program, "host", backend="memory", concurrency=64, jobs=jobs, uvloop=find_spec("uvloop") is not None)
    times = 5 if options.quick else 20
    found = in_turn(
        {
            "process": partial(host, isolation="process"),
            "sandbox": partial(host, isolation="sandbox"),
            "start process": partial(program, "ready", times=times, isolation="process"),
            "start sandbox": partial(program, "ready", times=times, isolation="sandbox"),
            "fresh": partial(program, "fresh", jobs=fresh, isolation="process", at_once=cores),
            "fresh sandbox": partial(program, "fresh", jobs=max(50, fresh // 4), isolation="sandbox", at_once=cores),
            "spawned": partial(program, "fresh", jobs=max(50, fresh // 4), isolation=None, at_once=cores),
            "spares": _spares,
            "watching": partial(program, "watching", children=32, spin=False, seconds=3),
            "spinning": partial(program, "watching", children=32, spin=True, seconds=3),
        },
        options.rounds,
    )
    fresh_sides = found["fresh"], found["fresh sandbox"], found["spawned"]["per_s"]
    start = {level: found[f"start {level}"]["child_ms"] for level in ("process", "sandbox")}
    steady = {level: found[level]["per_s"] for level in ("process", "sandbox")}
    peer = f"processes spawned, {cores} at once"
    return [
        Row("no-ops at sandbox", steady["sandbox"], "jobs/s", steady["process"], "at process", at_least=0.95),
        Row("start at sandbox", start["sandbox"], "ms", start["process"], "ms at process", at_most=1.15),
        Row("fresh process, p50", fresh_sides[0]["alone_ms"], "ms", at_most=5),
        Row("fresh sandbox, p50", fresh_sides[1]["alone_ms"], "ms", at_most=25),
        Row("fresh processes", fresh_sides[0]["per_s"], "jobs/s", fresh_sides[2], peer, at_least=8),
        Row("fresh sandboxes", fresh_sides[1]["per_s"], "jobs/s", fresh_sides[2], peer),
        Row("PSS of one more ready child", found["spares"]["mib"], "MiB", at_most=6),
        Row("watch over 32 children", found["watching"]["core"] * 100, "% of a core", at_most=2),
        Row("loop lag beside 32 that spin, p99", found["spinning"]["lag_ms"], "ms", at_most=20),
        Row("deadline to a free place, beyond the grace", found["spinning"]["over_s"], "s", at_most=1),
    ]  # fmt: skip


def _spares() -> Figures:
    """Memory of the children that stand ready behind a template, each."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        pool = f'[bundles.pool]\nchildren = {SPARES}\nreuse = "never"\n'
        text = f'queue_url = "sqlite:///{folder}/jobs.db"\n[[bundles]]\npath = "{HANDLERS / "noop"}"\n{pool}'
        (folder / "jobhost.toml").write_text(text)
        with running(jobhost("serve", "--http", "off"), folder, {}, cwd=folder) as pid:
            enqueue = jobhost("enqueue", "noop", "--data", json.dumps(payload(0)), "--wait")
            subprocess.run(enqueue, cwd=folder, check=True, capture_output=True, timeout=60)
            until = time.monotonic() + 30
            while len(children := descendants(pid)) <= SPARES:
                if time.monotonic() > until:
                    raise RuntimeError(f"{SPARES} children and their template were expected, there are {len(children)}")
                time.sleep(0.05)
            time.sleep(SETTLE)
            children = descendants(pid)
            return {"mib": sum(map(_pss, children)) / (len(children) - 1)}


def _pss(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
