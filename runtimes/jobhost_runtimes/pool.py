"""A pool of children for one bundle: started on demand, one kept warm, replaced when they have served their time.

Where a run goes: to an idle child; else to the least busy one that has room, while a further child starts if there may be more;
else it waits here. A sync handler has its child to itself, but short runs are handed over a few ahead (`Child.depth`), since waking
the child costs more than they do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine

from .backoff import StartBackoff
from .bundle import BundleSpec, Contents
from .child import Child
from .deadlines import Deadlines
from .errors import ChildStartError
from .memory import Watch
from .run import Ending, Outcome, Run
from .services import Line, Services
from .template import Template

RECALL_AFTER = 0.05
"""Seconds a run may hold up those that were handed over behind it."""
SWEEP = 1.0
"""Seconds between looks for children that have been idle too long."""
SETTLED = 10.0
"""Seconds after which a child that lives, but has run nothing yet, counts as one that works."""


class Pool:
    """The `Runtime` of a bundle whose handlers run in children."""

    def __init__(
        self,
        bundle: BundleSpec,
        services: Services,
        deadlines: Deadlines,
        on_trouble: Callable[[BundleSpec, ChildStartError | None], None] | None = None,
    ) -> None:
        """`on_trouble` gets each start that failed, and None once children work again after some did."""
        self.spec = bundle
        self.on_room: Callable[[], None] | None = None
        self._services = services
        self._deadlines = deadlines
        self._on_trouble = on_trouble
        self._children: list[Child] = []
        self._leaving: set[Child] = set()
        """Those that say goodbye."""
        self._starting = 0
        self._waiting: deque[Run] = deque()
        self._sync: set[str] = set()
        self._backoff = StartBackoff()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._template = Template(bundle, self._line)
        self._watch = Watch(bundle, lambda: self._children)
        self._sweeper: asyncio.Task[None] | None = None
        self._drained: asyncio.Event | None = None

    # Life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> Contents:
        """Start the first child, which stays warm, and learn the handlers from it."""
        self._starting += 1
        contents = await self._start_child()
        self._sync = {handler.name for handler in contents.handlers if handler.kind == "sync"}
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        self._watch.start()
        self._keep_spares()
        return contents

    async def stop(self, now: bool = False) -> None:
        self._stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._watch.stop()
        self._backoff.cancel()
        while self._waiting:
            self._waiting.popleft().end(Outcome(Ending.UNSTARTED))
        if now:
            # What is killed by the host's own haste is given back, not blamed.
            for child in self._children:
                for run in list(child.runs.values()):
                    child.cancel(run, "shutdown")
        else:
            await self._drain()
        for task in self._tasks:
            task.cancel()
        # Those that were saying goodbye have been interrupted in it.
        stops = [*(child.stop(now) for child in self._children), *(child.stop(True) for child in self._leaving)]
        await asyncio.gather(*stops, *self._tasks, return_exceptions=True)
        await self._template.stop()

    def _line(self, pid: int, text: str) -> None:
        self._services.child_log(self.spec.name, pid, Line(int(time.time() * 1000), "info", text, None, "stderr"), ())

    async def _drain(self) -> None:
        """Cancel what runs; each run ends by itself or, after its grace, with its child."""
        for child in list(self._children):
            for run in list(child.runs.values()):
                child.cancel(run, "shutdown")
        busy = [child for child in self._children if child.runs]
        if busy:
            limit = self.spec.limits.grace + 2.0
            drained = self._drained = asyncio.Event()
            try:
                async with asyncio.timeout(limit):
                    while any(child.runs for child in self._children):
                        drained.clear()
                        await drained.wait()
            except TimeoutError:
                pass  # stopping the children ends the rest

    @property
    def children(self) -> list[Child]:
        """Live children, for listings and tests."""
        return list(self._children)

    @property
    def template(self) -> int | None:
        """The process that children are forked from, if there is one."""
        return self._template.pid

    # Room ---------------------------------------------------------------------------------------------------------

    def room(self, handler: str) -> int:
        if self._stopping:
            return 0
        if self.spec.pool.fresh:
            spares = sum(self._free_places(child, True) for child in self._children)
            coming = 0 if self._backoff.waiting else self._may_start() + self._starting
            return max(0, min(self.spec.pool.children - self._busy(), spares + coming) - len(self._waiting))
        sync = handler in self._sync
        each = 1 if sync else self.spec.pool.concurrency
        coming = 0 if self._backoff.waiting else self._may_start() + self._starting
        room = coming * each - len(self._waiting)
        for child in self._children:
            room += self._free_places(child, sync)
        return max(0, room)

    def _free_places(self, child: Child, sync: bool) -> int:
        if not child.ready or child.retiring or child.reserved:
            return 0
        if self.spec.pool.fresh:
            return 0 if child.runs_taken else 1
        left = self.spec.pool.max_runs - child.runs_taken
        held = len(child.runs)
        if not sync:
            return 0 if child.busy_with_sync else max(0, min(self.spec.pool.concurrency - held, left))
        if held and not child.busy_with_sync:
            return 0  # it is busy with async runs
        return max(0, min(child.depth - held, left))

    def _may_start(self) -> int:
        # Where each run gets a fresh child, as many wait ready as may run: no job waits for an interpreter.
        most = self.spec.pool.children * (2 if self.spec.pool.fresh else 1)
        return max(0, most - len(self._children) - self._starting)

    def _busy(self) -> int:
        return sum(bool(child.runs) for child in self._children)

    def _keep_spares(self) -> None:
        """Have as many children ready, or on their way, as may run at once."""
        if not self.spec.pool.fresh or self._stopping or self._backoff.waiting:
            return
        ready = sum(not child.runs_taken and not child.retiring for child in self._children) + self._starting
        for _ in range(min(self.spec.pool.children - ready, self._may_start())):
            self._start_more()

    async def validate(self, handler: str, data: bytes) -> list[dict[str, str]]:
        child = next((child for child in self._children if child.ready), None)
        if child is None:
            raise ChildStartError(f"bundle {self.spec.name} has no child that could be asked")
        try:
            async with asyncio.timeout(self.spec.start_timeout):
                return await child.validate(handler, data)
        except TimeoutError:
            raise ChildStartError(
                f"a child of bundle {self.spec.name} did not check a job's data within {self.spec.start_timeout:g} s"
            ) from None

    # Placing ------------------------------------------------------------------------------------------------------

    def submit(self, run: Run) -> None:
        if self._stopping:
            run.end(Outcome(Ending.UNSTARTED))
        elif self._waiting or not self._place(run):
            self._waiting.append(run)
            self._start_more()

    def _place(self, run: Run) -> bool:
        if self.spec.pool.fresh and self._busy() >= self.spec.pool.children:
            return False
        if run.alone:
            return self._place_alone(run)
        sync = run.handler in self._sync
        best: Child | None = None
        for child in self._children:
            if (best is None or len(child.runs) < len(best.runs)) and self._free_places(child, sync) > 0:
                best = child
                if not child.runs:
                    break
        if best is None:
            return False
        if best.runs and self._may_start():
            if sync:
                return False  # a child of its own is better than a place behind another run
            self._start_more()
        self._execute(best, run)
        return True

    def _place_alone(self, run: Run) -> bool:
        usable = [child for child in self._children if child.ready and not child.retiring and not child.reserved]
        for child in usable:
            if not child.runs:
                child.reserved = True
                self._execute(child, run)
                return True
        if usable and not self._may_start() and not self._starting and not any(c.reserved for c in self._children):
            # Nobody is idle and nobody will be: keep one free of further runs until its last has ended.
            min(usable, key=lambda child: len(child.runs)).reserved = True
        return False

    def _execute(self, child: Child, run: Run) -> None:
        behind = child.busy_with_sync
        child.execute(run)
        if self.spec.pool.fresh or child.runs_taken >= self.spec.pool.max_runs:
            child.retiring = True
            self._keep_spares()
        if behind and len(child.runs) == 2:
            self._watch_head(child)

    def _watch_head(self, child: Child) -> None:
        """Runs wait behind another: if that one turns out long, ask for them back."""
        taken = child.runs_taken

        def look() -> None:
            queued = [run for run in child.runs.values() if not run.started]
            if not queued or child.dying:
                return
            if time.monotonic() - child.last_mark >= RECALL_AFTER:
                child.depth = 1
                child.recall(queued)
            else:
                self._deadlines.add((id(child), taken), RECALL_AFTER, look)

        self._deadlines.add((id(child), taken), RECALL_AFTER, look)

    def cancel(self, run: Run, reason: str) -> None:
        if run in self._waiting:
            self._waiting.remove(run)
            run.end(Outcome(Ending.CANCELLED, reason=reason))
            return
        for child in self._children:
            if run.token in child.runs:
                child.cancel(run, reason)

    # Children -----------------------------------------------------------------------------------------------------

    def _start_more(self) -> None:
        if self._may_start() and not self._stopping and not self._backoff.waiting:
            self._starting += 1  # now, and not when the task begins: many runs may ask in one turn
            self._spawn(self._start_in_background())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_in_background(self) -> None:
        try:
            await self._start_child()
        except ChildStartError as error:
            self._trouble(error)

    def _trouble(self, error: ChildStartError) -> None:
        if self._on_trouble is not None:
            self._on_trouble(self.spec, error)
        self._hand_back()
        self._backoff.failed(self._retry_start)

    def _retry_start(self) -> None:
        """The pause after a failed start is over: there is room again, and trying is how to find out."""
        if not self._stopping:
            if not any(child.ready for child in self._children):
                self._start_more()
            self._room_changed()

    def _hand_back(self) -> None:
        """No child can start: runs that wait for one go back to their queue, unless another child may take them."""
        if not any(child.ready for child in self._children):
            while self._waiting:
                self._waiting.popleft().end(Outcome(Ending.UNSTARTED))

    async def _start_child(self) -> Contents:
        """Start one that is counted in `_starting` already."""
        child = Child(self.spec, self._services, self._deadlines, self._template, self._child_free, self._child_gone)
        try:
            contents = await child.start()
        except ChildStartError:
            await self._template.stop()  # what is tried next is the bundle as it is then
            raise
        finally:
            self._starting -= 1
        self._backoff.cancel()
        if self._stopping:
            await child.stop(now=True)
            return contents
        self._children.append(child)
        self._child_free(child)
        return contents

    def _child_free(self, child: Child) -> None:
        """Runs of a child have ended, or it is new: give it what waits, or let it go."""
        if child.reserved and not child.runs:
            child.reserved = False
        if child.runs_taken:
            self._works()
            if not child.retiring and child.swollen():
                child.retiring = True
                self._line(
                    child.pid,
                    "it is replaced: its runs have left it more than half of the memory that its limit allows",
                )
        if self._stopping:
            self._note_drained()
            return
        if child.retiring and not child.runs:
            self._retire(child)
        elif self._waiting:
            self._place_waiting()
        self._room_changed()

    def _works(self) -> None:
        """A child has done what children are for. That it has started is not enough: some die as soon as they have."""
        if self._backoff.failures:
            self._backoff.succeeded()
            if self._on_trouble is not None:
                self._on_trouble(self.spec, None)

    def _place_waiting(self) -> None:
        while self._waiting and self._place(self._waiting[0]):
            self._waiting.popleft()
        if self._waiting:
            self._start_more()

    def _retire(self, child: Child) -> None:
        if child in self._children:
            self._children.remove(child)
            self._leaving.add(child)
            self._spawn(self._dismiss(child))
            if self._waiting:
                self._place_waiting()
            elif not self._children:
                self._start_more()
            self._keep_spares()

    async def _dismiss(self, child: Child) -> None:
        await child.stop()
        self._leaving.discard(child)

    def _child_gone(self, child: Child) -> None:
        if child in self._children:
            self._children.remove(child)
            if not self._stopping:
                if not child.runs_taken:
                    # It started and died without having done anything: as bad as not starting.
                    self._trouble(ChildStartError(f"a child of bundle {self.spec.name} died idle: {child.epitaph}"))
                elif self._waiting or not self._children:
                    self._start_more()
                self._room_changed()
        self._note_drained()

    def _note_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()

    def _room_changed(self) -> None:
        if self.on_room is not None:
            self.on_room()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = time.monotonic()
            if any(child.ready and child.ready_since < now - SETTLED for child in self._children):
                self._works()
            limit = now - self.spec.pool.idle_timeout
            idle = [c for c in self._children if c.ready and not c.runs and not c.retiring and c.idle_since < limit]
            # One stays warm, whatever it costs to keep it.
            for child in idle[: max(0, len(self._children) - 1)]:
                child.retiring = True
                self._retire(child)
