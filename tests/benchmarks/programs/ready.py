"""Starts a child until it has answered `initialize`, and a bare interpreter, in turn: {"times", "isolation"}. Prints medians in ms."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from statistics import median
from typing import cast

from jobhost_runtimes.bundle import BundleSpec, LimitSpec
from jobhost_runtimes.child import Child
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.services import Services
from jobhost_runtimes.template import Template

from tests.benchmarks.measure import HANDLERS


class _NoServices:
    methods: tuple[str, ...] = ()


async def measure(times: int, isolation: str = "process") -> dict[str, float]:
    limits = LimitSpec(processes=32, open_files=256, disk=64 * 1024 * 1024)
    bundle = BundleSpec("noop", HANDLERS / "noop", "python", isolation, ("noop.py",), limits=limits)
    deadlines = Deadlines(asyncio.get_running_loop())
    template = Template(bundle, lambda _pid, _line: None)
    services = cast(Services, _NoServices())
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(times):
        child = Child(bundle, services, deadlines, template, lambda _child: None, lambda _child: None)
        began = time.perf_counter()
        await child.start()
        ours.append(time.perf_counter() - began)
        await child.stop()
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        bare.append(time.perf_counter() - began)
    deadlines.close()
    return {"child_ms": median(ours) * 1000, "bare_ms": median(bare) * 1000}


def main() -> None:
    print(json.dumps(asyncio.run(measure(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
