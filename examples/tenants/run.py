"""A thousand reports of one customer, three of another; then the renderer goes down, and comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from jobhost import Client

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
DOWN = HERE / ".jobhost" / "renderer-is-down"
QUEUE = "reports"


def start_host() -> subprocess.Popen[bytes]:
    """Start `jobhost serve`; what it says is added to a file."""
    with LOG.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "jobhost", "serve", "--http", "off"], cwd=HERE, stderr=said)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something in the store is so."""
    while not await check():  # noqa: ASYNC110 - it is another process that changes it
        await asyncio.sleep(0.05)


async def breaker_is(client: Client, status: str) -> bool:
    return bool((await client.breakers.list())[0]["status"] == status)


async def is_empty(client: Client) -> bool:
    return (await client.counts(QUEUE))["waiting"] == 0


async def main() -> None:
    """Show that the quiet customer waits for nobody, and that nothing is lost while the renderer is down."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    LOG.parent.mkdir(exist_ok=True)
    DOWN.unlink(missing_ok=True)
    async with Client() as client, asyncio.timeout(90):
        noisy = [
            {"name": "report.make", "data": {"customer": "noisy", "number": n}, "queue": QUEUE} for n in range(1_000)
        ]
        quiet = [{"name": "report.make", "data": {"customer": "quiet", "number": n}, "queue": QUEUE} for n in range(3)]
        await client.enqueue_many(noisy)
        reports = await client.enqueue_many(quiet)
        host = start_host()
        try:
            for report in reports:
                await report.result()
            waiting = (await client.counts(QUEUE))["waiting"]
            print(f"the quiet customer has its 3 reports; {waiting} of the noisy one still wait: {waiting > 500}")
            await until(lambda: is_empty(client))
            DOWN.touch()
            late = await client.enqueue_many(quiet)
            await until(lambda: breaker_is(client, "open"))
            [breaker] = await client.breakers.list()
            print(f"the renderer is down, the breaker {breaker['name']} is open: {breaker['reason']}")
            DOWN.unlink()
            made = [await report.result() for report in late]
            await until(lambda: breaker_is(client, "closed"))
            print(f"the renderer is back, the breaker is closed, and {len(made)} late reports are made")
        finally:
            host.terminate()
            await asyncio.to_thread(host.wait)


if __name__ == "__main__":
    asyncio.run(main())
