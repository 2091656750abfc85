"""A way to a Postgres server that breaks where a test wants it to: before a COMMIT arrives, or before its answer does."""

from __future__ import annotations

import socket
import threading
from typing import Literal
from urllib.parse import urlsplit

Where = Literal["before", "after"]


class Proxy:
    """Passes bytes on between clients and a server. `cut` breaks the connection on which the next COMMIT comes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self._server = ("127.0.0.1", parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = url.replace(f":{parts.port}/", f":{port}/")
        self._cut: Where | None = None
        self.refuses = self._refuses_then = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, where: Where, refuses: bool = False) -> None:
        """Break at the next COMMIT. `refuses`: and take no new connection, until that is set back."""
        self._refuses_then = refuses
        self._cut = where

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.close()
                continue
            server = socket.create_connection(self._server)
            broken = threading.Event()
            threading.Thread(target=self._ask, args=(client, server, broken), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server, broken), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, broken: threading.Event) -> None:
        try:
            while asked := client.recv(65536):
                if self._cut is not None and b"COMMIT" in asked:
                    where, self._cut = self._cut, None
                    self.refuses = self._refuses_then
                    self.cuts += 1
                    if where == "before":
                        break
                    broken.set()
                server.sendall(asked)
        except OSError:
            pass
        _shut(client)
        _shut(server)

    def _answer(self, client: socket.socket, server: socket.socket, broken: threading.Event) -> None:
        try:
            while answer := server.recv(65536):
                if broken.is_set():
                    break  # the server has committed, and nobody is told
                client.sendall(answer)
        except OSError:
            pass
        _shut(client)
        _shut(server)


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
