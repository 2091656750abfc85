"""Place two orders, each a row and a job in one transaction; roll the second one back; serve what is there."""

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
URL = sys.argv[1] if len(sys.argv) > 1 else "sqlite:///.jobhost/jobhost.db"


def connect() -> Any:
    """A connection of the program's own to the database in which the queues are."""
    if URL.startswith("sqlite:///"):
        return sqlite3.connect(URL.removeprefix("sqlite:///"))
    import psycopg

    return psycopg.connect(URL)


async def place(client: Client, conn: Any, order: int) -> None:
    """Both or none: nobody sees the order without its job, or the job without its order."""
    conn.execute(f"INSERT INTO orders (id) VALUES ({order})")
    await client.enqueue("receipt", {"order": order}, conn=conn)


def serve() -> None:
    """Run `jobhost serve --burst`: it ends when no job is left. What the host says goes into a file."""
    log = HERE / ".jobhost" / "serve.log"
    command = [sys.executable, "-m", "jobhost", "serve", "--burst", "--queue-url", URL]
    with log.open("w") as said:
        host = subprocess.run(command, cwd=HERE, stderr=said)
    if host.returncode:
        sys.exit(f"jobhost serve ended with {host.returncode}:\n{log.read_text()}")


async def main() -> None:
    """Place, roll back, serve, show."""
    os.chdir(HERE)
    (HERE / ".jobhost").mkdir(exist_ok=True)
    async with Client(URL) as client:
        with closing(connect()) as conn:
            conn.execute("CREATE TABLE IF NOT EXISTS orders (id integer)")
            conn.commit()
            await place(client, conn, 1)
            conn.commit()
            await place(client, conn, 2)
            conn.rollback()
            (orders,) = conn.execute("SELECT count(*) FROM orders").fetchone()
        await asyncio.to_thread(serve)
        jobs = (await client.list()).jobs
        print(f"{orders} order{'s' * (orders != 1)}; receipts sent: {[job['result'] for job in jobs]}")


if __name__ == "__main__":
    asyncio.run(main())
