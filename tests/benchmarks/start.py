"""How fast children and hosts start, and what they hold in memory when idle."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from jobhost_runtimes.strays import descendants

from .measure import Figures, Options, Row, in_turn, program
from .payload import payload
from .servers import jobhost, project, serving, until_stamped

SETTLE = 0.5
"""Seconds an idle host gets before it is looked at."""


def measure(options: Options) -> list[Row]:
    sides: dict[str, Callable[[], Figures]] = {
        "ready": partial(program, "ready", times=5 if options.quick else 20),
        "first": _first,
        "sync": partial(_idle, "noop"),
        "async": partial(_idle, "later"),
    }
    found = in_turn(sides, options.rounds)
    ready = found["ready"]
    return [
        Row("sync child ready", ready["child_ms"], "ms", ready["bare_ms"], "ms python -I -c pass", at_most=2),
        Row("PSS of a sync child", found["sync"]["child_mib"], "MiB", at_most=8),
        Row("PSS of an async child", found["async"]["child_mib"], "MiB", at_most=16),
        Row("RSS of the idle host", found["sync"]["host_mib"], "MiB", at_most=55),
        Row("serve to the first handler's start", found["first"]["seconds"], "s", at_most=0.6),
    ]


def _first() -> Figures:
    with TemporaryDirectory() as name:
        folder = Path(name)
        environment = project(folder, "stamp")
        _enqueue(folder, "stamp")
        began = time.monotonic_ns()
        with serving(folder, environment):
            [started] = until_stamped(folder / "stamps", 1)
        return {"seconds": (started - began) / 1e9}


def _idle(handler: str) -> Figures:
    """Memory of a host and its child after one job."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, project(folder, handler)) as pid:
            _enqueue(folder, "noop", "--wait")
            time.sleep(SETTLE)
            children = descendants(pid)
            if len(children) != 1:
                raise RuntimeError(f"one child was expected, there are {len(children)}")
            return {
                "child_mib": _mib(children[0], "smaps_rollup", "Pss"),
                "host_mib": _mib(pid, "status", "VmRSS"),
            }


def _enqueue(folder: Path, name: str, *options: str) -> None:
    command = jobhost("enqueue", name, "--data", json.dumps(payload(0)), *options)
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def _mib(pid: int, file: str, field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
