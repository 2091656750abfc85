"""A host that serves functions of the test itself, so that a test can hold their runs and look at them from outside."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from jobhost.config.document import Config
from jobhost.dispatch.host import Host
from jobhost.queues.job import Job
from jobhost.queues.seam import Backend

from .hosting import PATIENCE, Hosted

Functions = dict[str, Any]
"""Job name -> function, or (function, settings as in `@handler`)."""


class Recorder:
    """Stands for the host's structured log: keeps what was said as (event, fields)."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def bind(self) -> Recorder:
        return self

    def _say(self, event: str, **fields: Any) -> None:
        self.said.append((event, fields))

    debug = info = warning = error = critical = _say

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of each time `event` was said."""
        return [fields for said, fields in self.said if said == event]


class Gate:
    """A handler whose runs wait until the gate is opened. Counts them."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.most = 0
        """Runs at once, at most."""
        self._inside = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, job: Any, ctx: Any) -> str:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.entered.append(job.id)
        self._open.wait(PATIENCE)
        with self._lock:
            self._inside -= 1
        return str(job.id)

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def serving(
    backend: Backend,
    functions: Functions,
    *bundles: dict[str, Any],
    queues: Any = None,
    prepare: Callable[[Host], None] | None = None,
    log: Any = None,
    only: Sequence[str] | None = None,
    **config: Any,
) -> AsyncIterator[Hosted]:
    """A host over `backend` with `functions` registered; `prepare` gets it before its start. `only`: the queues it serves."""
    settings = {"queue_url": "memory://", "bundles": list(bundles), "queues": queues or {}, "shutdown_timeout": "5s"}
    host = Host(Config.model_validate({**settings, **config}), backend=backend, log=log, queues=only)
    for name, given in functions.items():
        fn, options = given if isinstance(given, tuple) else (given, {})
        host.register(fn, name, **options)
    if prepare is not None:
        prepare(host)
    await host.start()
    try:
        yield Hosted(host, backend)
    finally:
        for given in functions.values():
            gate = given[0] if isinstance(given, tuple) else given
            if isinstance(gate, Gate):
                gate.open()
        with anyio.CancelScope(shield=True):
            await host.stop(now=True)


async def until(check: Callable[[], bool]) -> None:
    """Wait until something in this process is so."""
    with anyio.fail_after(PATIENCE):
        while not check():
            await anyio.sleep(0.01)


def echo(job: Any, ctx: Any) -> Any:
    return job.data


def fail(job: Any, ctx: Any) -> None:
    raise ValueError(f"no luck on attempt {ctx.attempt}")


def delayed_for(job: Job, since: int) -> int:
    """Milliseconds from `since` until the job is due."""
    assert job.delay_until is not None
    return job.delay_until - since
