"""Serve the nightly report, say when it comes next, and make one now instead of waiting for the night."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jobhost import Client

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"


def start_host() -> subprocess.Popen[bytes]:
    """Start `jobhost serve`; what it says is added to a file."""
    with LOG.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "jobhost", "serve"], cwd=HERE, stderr=said)


async def main() -> None:
    """Serve, look, run once."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    LOG.parent.mkdir(exist_ok=True)
    host = start_host()
    try:
        async with Client() as client, asyncio.timeout(60):
            while not (found := await client.schedules.list()):  # noqa: ASYNC110 - the host takes it from jobhost.toml
                await asyncio.sleep(0.05)
            [schedule] = found
            following = datetime.fromisoformat(schedule["next_at"]).astimezone(ZoneInfo(schedule["tz"]))
            print(f"{schedule['id']}: {schedule['cron']} {schedule['tz']}, next {following:%Y-%m-%d %H:%M %Z}")
            job = await client.schedules.run(schedule["id"])
            print(f"one now, besides: {await job.result(timeout='30s')}")
            print("Now try, in this folder: jobhost schedules list")
    finally:
        host.terminate()
        await asyncio.to_thread(host.wait)


if __name__ == "__main__":
    asyncio.run(main())
