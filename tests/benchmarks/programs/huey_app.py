"""The peer of the SQLite benchmarks, as its consumer loads it: HUEY_FILE is the queue, BENCH_LOG takes the stamps."""

from __future__ import annotations

import os
from typing import Any

from huey import SqliteHuey

from tests.benchmarks.payload import noop, stamp

# As it comes: WAL, and SQLite's own `synchronous`, which is FULL.
huey = SqliteHuey("bench", filename=os.environ["HUEY_FILE"])
_file = os.open(os.environ["BENCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@huey.task()  # type: ignore[untyped-decorator]
def job(data: dict[str, Any]) -> dict[str, Any]:
    stamp(_file, data["n"])
    return noop(data)
