"""A few orders through one handler; afterwards the application's own table tells what became of them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from jobhost import Client

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
ORDERS: list[dict[str, Any]] = [
    {"customer": "Ada", "items": 7},
    {"customer": "Grace", "items": 2, "van": "late"},
    {"customer": "Alan", "items": 0},
    {"customer": "Mallory", "items": 5},
]


def serve() -> None:
    """Run `jobhost serve` in this folder until nothing is left to do; what it says is added to a file."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab") as said:
        subprocess.run([sys.executable, "-m", "jobhost", "serve", "--burst"], cwd=HERE, stderr=said, check=True)


async def main() -> None:
    """Enqueue, serve, and read the table."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    async with Client() as client:
        await client.enqueue_many([{"name": "order.send", "data": order} for order in ORDERS])
    await asyncio.to_thread(serve)
    with closing(sqlite3.connect(HERE / "app.db")) as db:
        rows = db.execute("SELECT customer, status, attempt, result, error FROM job_status ORDER BY id").fetchall()
    for customer, status, attempt, result, error in rows[-len(ORDERS) :]:
        print(f"{customer:<8} {status:<7} attempt {attempt}  {error or result}")


if __name__ == "__main__":
    asyncio.run(main())
