"""Node's own BullMQ as a process beside the tests: adds jobs, works them, and looks at them as its users do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from jobhost_runtimes.bundle import BundleSpec
from jobhost_runtimes.languages import launch

from tests.redis_server import server_url

NODE_TESTS = Path(__file__).parents[1] / "node"


class Peer:
    """Commands of a program in tests/node/bullmq, peer.js unless another is named."""

    def __init__(self, prefix: str, program: str, more: Sequence[str]) -> None:
        place = urlsplit(server_url())
        node = next(word for word in launch(BundleSpec("peer", NODE_TESTS, "node")).argv if word.endswith("node"))
        command = [node, str(NODE_TESTS / "bullmq" / program), str(place.hostname), str(place.port), prefix, *more]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def do(self, what: str, **params: Any) -> Any:
        """Run a command and give its answer. Raises RuntimeError with BullMQ's own message."""
        return await anyio.to_thread.run_sync(self._do, what, params)

    def _do(self, what: str, params: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **params}) + "\n")
        self._process.stdin.flush()
        return self.greeting()

    def greeting(self) -> Any:
        """What the program says next, or first of all by itself."""
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def bullmq(prefix: str, program: str = "peer.js", *more: str) -> Iterator[Peer]:
    """BullMQ on the tests' server, under this prefix."""
    if not (NODE_TESTS / "node_modules" / "bullmq").is_dir():
        said = "THE npm PACKAGE bullmq IS NOT INSTALLED (npm ci in tests/node): jobhost is not tested with it"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    peer = Peer(prefix, program, more)
    try:
        yield peer
    finally:
        peer.close()
