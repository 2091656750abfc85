"""Export the airports that vega_datasets ships, as CSV and as JSON, and show how far each is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from jobhost import Client
from jobhost.handles import JobHandle

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
SOURCE = files("vega_datasets") / "_data" / "airports.csv"


def start_host() -> subprocess.Popen[bytes]:
    """Start `jobhost serve`; what it says is added to a file."""
    with LOG.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "jobhost", "serve"], cwd=HERE, stderr=said)


async def follow(form: str, job: JobHandle) -> None:
    """Print the progress of an export, and what came of it."""
    async for progress in job.progress():
        print(f"{form}: {progress['percent']} %")
    told = await job.result(timeout="30s")
    print(f"{form}: {told['rows']:,} rows, {told['bytes']:,} bytes, sha256 {told['sha256'][:12]}, in {told['file']}")


async def main() -> None:
    """Enqueue, serve, follow."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    LOG.parent.mkdir(exist_ok=True)
    host = start_host()
    try:
        async with Client() as client, asyncio.timeout(60), asyncio.TaskGroup() as exports:
            for form in ("csv", "json"):
                data = {"source": str(SOURCE), "target": f"{HERE}/.jobhost/airports.{form}", "format": form}
                exports.create_task(follow(form, await client.enqueue("dataExport", data)))
    finally:
        host.terminate()
        await asyncio.to_thread(host.wait)


if __name__ == "__main__":
    asyncio.run(main())
