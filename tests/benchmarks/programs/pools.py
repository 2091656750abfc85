"""The process pools of the standard library: {"pool": "executor" or "imap", "jobs"}."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

from tests.benchmarks.payload import noop, payload

WARM_UP = 0.1
IN_FLIGHT = 64


def executor(jobs: int) -> float:
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(noop, [payload(n) for n in range(int(jobs * WARM_UP))]))
        started = time.perf_counter()
        flying = {pool.submit(noop, payload(n)) for n in range(IN_FLIGHT)}
        sent, done = IN_FLIGHT, 0
        while flying:
            ended, flying = wait(flying, return_when=FIRST_COMPLETED)
            done += len(ended)
            more = min(len(ended), jobs - sent)
            flying |= {pool.submit(noop, payload(sent + n)) for n in range(more)}
            sent += more
        return done / (time.perf_counter() - started)


def imap(jobs: int) -> float:
    with multiprocessing.Pool(2) as pool:
        list(pool.imap_unordered(noop, [payload(n) for n in range(int(jobs * WARM_UP))]))
        started = time.perf_counter()
        done = sum(1 for _ in pool.imap_unordered(noop, (payload(n) for n in range(jobs)), chunksize=1))
        return done / (time.perf_counter() - started)


def main() -> None:
    setting = json.loads(sys.argv[1])
    run = executor if setting["pool"] == "executor" else imap
    print(json.dumps({"per_s": run(setting["jobs"])}))


if __name__ == "__main__":
    main()
