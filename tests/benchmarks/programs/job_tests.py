"""Tests of jobs, one after the other. Argument: {"kind": "async" | "sync", with "sdk " in front for the SDK's own kit, "tests"}."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from jobhost.testing import TestHost
from jobhost_sdk.testing import run


def blocking(job: Any, ctx: Any) -> int:
    return int(job.data) + 1


async def awaited(job: Any, ctx: Any) -> int:
    return int(job.data) + 1


def host_test(handler: Callable[..., Any]) -> None:
    with TestHost() as jobhost:
        jobhost.register(handler)
        job = jobhost.enqueue(handler.__name__, 1)
        jobhost.run_until_idle()
        assert job.result == 2


def sdk_test(handler: Callable[..., Any]) -> None:
    assert run(handler, 1).result == 2


def main() -> None:
    given = json.loads(sys.argv[1])
    handler = awaited if given["kind"].endswith("async") else blocking
    test = sdk_test if given["kind"].startswith("sdk") else host_test
    test(handler)
    began = time.perf_counter()
    for _ in range(given["tests"]):
        test(handler)
    print(json.dumps({"per_s": given["tests"] / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
