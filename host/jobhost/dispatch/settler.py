"""Settlements on their way to the backend: what ended in one turn of the loop is written in one step.

While one batch is written the next gathers, so the size of the batches follows the speed of the backend by itself. When the backend
is gone settlements wait here and are tried again; each is fenced, so trying twice is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ..errors import BackendUnavailableError
from ..queues.job import Job, Settlement
from ..queues.seam import Backend
from .journal import Journal

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between tries while the backend is gone."""


class Worker(Protocol):
    """Whose settlement it is."""

    def settled(self, decided: Settlement, job: Job, held: bool) -> None: ...


class Settler:
    """One a host."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        on_error: Callable[[BackendUnavailableError], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._spawn = spawn
        self._backend = backend
        self._journal = journal
        self._on_error = on_error
        self._batch: list[tuple[Settlement, Job, Worker]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, settlement: Settlement, job: Job, worker: Worker) -> None:
        """Write a settlement soon; its worker is told whether the lease still held."""
        self._batch.append((settlement, job, worker))
        if self._task is None:
            self._task = self._spawn(self._work())

    async def _work(self) -> None:
        pause = FIRST_PAUSE
        try:
            while self._batch:
                batch, self._batch = self._batch, []
                try:
                    if not self._journal.empty:
                        await self._journal.flush()
                    held = await self._backend.settle([settlement for settlement, _, _ in batch])
                except BackendUnavailableError as error:
                    self._on_error(error)
                    self._batch = batch + self._batch
                    await asyncio.sleep(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
                    continue
                pause = FIRST_PAUSE
                for (settlement, job, worker), ok in zip(batch, held, strict=True):
                    worker.settled(settlement, job, ok)
        finally:
            self._task = None

    async def flush(self) -> None:
        """Wait until everything added so far is written, or the caller loses patience."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def abandon(self) -> int:
        """Give up what could not be written; gives how many settlements that were."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return len(self._batch)
