"""A receiver of webhooks on loopback: it answers as it is told to, and keeps what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio

from .hosting import PATIENCE


class Receiver:
    """`answers`: statuses and headers of the first answers; every later one is 204."""

    def __init__(self, answers: Sequence[tuple[int, Mapping[str, str]]] = ()) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self._answers = list(answers)
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver._take({name.lower(): text for name, text in self.headers.items()}, body)
                self.send_response(status)
                for name, text in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, text)
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def _take(self, headers: dict[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        with self._lock:
            self.got.append((headers, body))
            return self._answers.pop(0) if self._answers else (204, {})

    def answer(self, answers: Sequence[tuple[int, Mapping[str, str]]]) -> None:
        """Change what comes next."""
        with self._lock:
            self._answers = list(answers)

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many have come; gives their bodies."""
        with anyio.fail_after(PATIENCE):
            while len(self.got) < count:
                await anyio.sleep(0.01)
        return [json.loads(body) for _, body in self.got]

    @contextmanager
    def serving(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
