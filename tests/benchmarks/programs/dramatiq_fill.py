"""dramatiq with 2 processes of 8 threads, its best on two cores: {"url", "jobs"}. Prints {"per_s"}.

A message is in its hash until it is acknowledged: how many are left is asked of the server, which costs the workers nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import redis

from tests.benchmarks.payload import payload

MESSAGES = "dramatiq:default.msgs"


def main() -> None:
    setting = json.loads(sys.argv[1])
    os.environ["DRAMATIQ_URL"] = setting["url"]
    from tests.benchmarks.programs.dramatiq_app import noop

    jobs = setting["jobs"]
    client = redis.Redis.from_url(setting["url"])
    client.delete(MESSAGES, "dramatiq:default")
    for n in range(jobs):
        noop.send(payload(n))
    command = [
        sys.executable,
        "-m",
        "dramatiq",
        "--processes",
        "2",
        "--threads",
        "8",
        "tests.benchmarks.programs.dramatiq_app",
    ]
    workers = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        first = _until(client, jobs - jobs // 10)
        last = _until(client, 0)
    finally:
        workers.terminate()
        workers.wait(30)
    print(json.dumps({"per_s": (first[0] - last[0]) / (last[1] - first[1])}))


def _until(client: redis.Redis, left: int) -> tuple[int, float]:
    """When no more than so many were left, and how many that were."""
    until = time.monotonic() + 120
    while (found := int(client.hlen(MESSAGES))) > left:
        if time.monotonic() > until:
            raise TimeoutError(f"{found} messages are left")
        time.sleep(0.005)
    return found, time.perf_counter()


if __name__ == "__main__":
    main()
