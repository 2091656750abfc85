"""Enqueues huey tasks: {"jobs", "idle": wait at random between them}. Prints the median latency if so."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from statistics import median

from tests.benchmarks.payload import payload, stamps
from tests.benchmarks.programs.huey_app import job

LONGEST_PAUSE = 0.2


def main() -> None:
    setting = json.loads(sys.argv[1])
    if not setting["idle"]:
        for n in range(setting["jobs"]):
            job(payload(n))
        print("{}")
        return
    log = Path(os.environ["BENCH_LOG"])
    sent = {}
    for n in range(setting["jobs"]):
        time.sleep(random.uniform(0.005, LONGEST_PAUSE))
        sent[n] = time.monotonic_ns()
        job(payload(n))
        while n not in stamps(log):
            time.sleep(0.005)
    started = stamps(log)
    print(json.dumps({"p50_ms": median((started[n] - at) / 1e6 for n, at in sent.items())}))


if __name__ == "__main__":
    main()
