"""Send a signed webhook to a receiver in this program, which fails once, then checks the signature."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from jobhost import Client

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
KEY = secrets.token_bytes(32)


class Receiver(BaseHTTPRequestHandler):
    """What a server does that takes webhooks: check the signature and the time, and do each `webhook-id` once."""

    fails = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        id, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        digest = hmac.new(KEY, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
        good = hmac.compare_digest(self.headers["webhook-signature"], "v1," + base64.b64encode(digest).decode())
        failed, Receiver.fails = Receiver.fails, False
        status = 500 if failed else 204 if good else 401
        print(f"received {id}: signature {'good' if good else 'WRONG'}, answered {status}, {body.decode()}", flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


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
    os.environ["WEBHOOK_SECRET"] = "whsec_" + base64.b64encode(KEY).decode()
    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    async with Client() as client:
        event = {"url": f"http://127.0.0.1:{receiver.server_port}/hooks", "type": "order.paid", "data": {"order": 7}}
        job = await client.enqueue("webhook.send", event, backoff="200ms")
        await asyncio.to_thread(serve)
        print(f"{await job.result(timeout='10s')} after {(await job.info())['attempts_made']} attempts")


if __name__ == "__main__":
    asyncio.run(main())
