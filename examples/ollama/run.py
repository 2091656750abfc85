"""Ask a language model, at OLLAMA_URL or of a small stand-in that is busy at first, and show its answer while it grows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from jobhost import Client

HERE = Path(__file__).resolve().parent
LOG = HERE / ".jobhost" / "serve.log"
PROMPT = "Where is Dublin? Answer in six words."


class StandIn(BaseHTTPRequestHandler):
    """Says 503 to the first request, and the same words to all others."""

    busy = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if StandIn.busy:
            StandIn.busy = False
            self.send_response(503)
            self.send_header("retry-after", "1")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        for word in ["It", " is", " the", " capital", " of", " Ireland", "."]:
            self.wfile.write(json.dumps({"model": "stand-in", "response": word, "done": False}).encode() + b"\n")
            time.sleep(0.1)
        self.wfile.write(b'{"model": "stand-in", "response": "", "done": true, "done_reason": "stop"}\n')

    def log_message(self, *_: object) -> None:
        """Silent."""


def start_stand_in() -> None:
    """Serve it in a thread, which ends with this program."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    os.environ["OLLAMA_URL"] = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()


def start_host() -> subprocess.Popen[bytes]:
    """Start `jobhost serve`; what it says is added to a file."""
    with LOG.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "jobhost", "serve"], cwd=HERE, stderr=said)


async def main() -> None:
    """Enqueue, serve, follow."""
    os.chdir(HERE)  # where jobhost.toml is, which Client() and `jobhost` both find
    LOG.parent.mkdir(exist_ok=True)
    if "OLLAMA_URL" not in os.environ:
        start_stand_in()
    host = start_host()
    try:
        async with Client() as client:
            ask = {"model": os.environ.get("OLLAMA_MODEL", "llama3.2"), "prompt": PROMPT}
            job = await client.enqueue("ollama.generate", ask)
            async for progress in job.progress():
                print(f"{progress['tokens']:>4}: {progress['text']}")
            told = await job.result(timeout="10m")
            print(f"{told['text']} ({told['tokens']} tokens, {(await job.info())['attempts_made']} attempt)")
    finally:
        host.terminate()
        await asyncio.to_thread(host.wait)


if __name__ == "__main__":
    asyncio.run(main())
