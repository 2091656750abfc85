"""Run a handler in a virtual environment of its own, with a package that the host does not have."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from jobhost import Client

HERE = Path(__file__).resolve().parent
DATA = {"bytes": 123_456_789, "seconds": 98_765}


def serve() -> None:
    """Run `jobhost serve --burst`: it ends when no job is left. What the host says goes into a file."""
    log = HERE / ".jobhost" / "serve.log"
    with log.open("w") as said:
        host = subprocess.run([sys.executable, "-m", "jobhost", "serve", "--burst"], cwd=HERE, stderr=said)
    if host.returncode:
        sys.exit(f"jobhost serve ended with {host.returncode}:\n{log.read_text()}")


def yes_no(found: bool) -> str:
    """A truth value in a word."""
    return "yes" if found else "no"


async def main() -> None:
    """Enqueue, serve, show."""
    if not (HERE / "handlers" / ".venv").is_dir():
        sys.exit("The handlers have no virtual environment yet: run ./setup.sh first.")
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    (HERE / ".jobhost").mkdir(exist_ok=True)
    async with Client() as client:
        job = await client.enqueue("readable", DATA)
        await asyncio.to_thread(serve)
        told = await job.result(timeout="10s")
    print(f"{DATA['bytes']:,} bytes are {told['size']}, {DATA['seconds']:,} seconds are {told['time']}")
    print(f"host:    humanize: {yes_no(importlib.util.find_spec('humanize') is not None)}, in {sys.prefix}")
    print(f"handler: jobhost: {yes_no(told['has_jobhost'])}, in {told['environment']}")


if __name__ == "__main__":
    asyncio.run(main())
