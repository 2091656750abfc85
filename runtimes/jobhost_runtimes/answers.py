"""The host's answers to a child: its calls are checked, given to the services, and answered; what is malformed is counted."""

from __future__ import annotations

import asyncio
from typing import Any

from jobhost_sdk.errors import CallError, ProtocolError
from jobhost_sdk.wire.peer import Notification, Request

from .calls import REQUESTS, live_run, log_line, params_problem
from .connection import Connection
from .json_text import is_json
from .run import Run
from .services import LATER, Services

STRIKES = 10
"""So many unknown or malformed calls from one child, and it is taken for broken."""
MAX_LOG_LINE = 16 * 1024
CALLS_PER_SECOND = 5_000
CALLS_AT_ONCE = 10_000
"""Of one run; more of them wait for their turn, and with them the run."""
SERVED_AT_ONCE = 32
"""Calls of one child; each answer may have a megabyte."""
MOST_HELD = 8 * 1024 * 1024
"""Bytes of values in calls of one child that are not answered yet: beyond them nothing more is read from it."""


class Answers:
    """Answers what one child asks, on its connection. `runs` are those live in the child, by token."""

    def __init__(self, bundle: str, pid: int, services: Services, connection: Connection) -> None:
        self._bundle = bundle
        self._pid = pid
        self._services = services
        self._methods = frozenset(services.methods) & REQUESTS.keys()
        self._connection = connection
        self._strikes = 0
        self._places = asyncio.Semaphore(SERVED_AT_ONCE)
        self._held = 0
        self._holding = False
        self._tasks: set[asyncio.Task[None]] = set()

    def request(self, request: Request, runs: dict[str, Run]) -> None:
        """Answer now or soon."""
        method, params = request.method, request.params
        run = live_run(runs, params)
        if method not in self._methods:
            self._refuse(request, "UnknownMethodError", f"the host has no method {method[:100]!r}")
            self._strike(f"it called {STRIKES} unknown methods")
        elif run is None or not run.started:
            self._refuse(request, "RunNotLiveError", "this run is not live in this child")
        elif problem := params_problem(method, params):
            self._refuse(request, "InvalidParamsError", problem)
        else:
            _count(run, method)
            pause = 0.0 if run.account is None else run.account.turn(CALLS_PER_SECOND, CALLS_AT_ONCE)
            if pause <= 0 and self._answered(request, run):
                return
            size = sum(len(value) for value in params.values() if isinstance(value, bytes))
            self._hold(size)
            task = asyncio.get_running_loop().create_task(self._serve(request, run, pause))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _task: self._hold(-size))

    def _answered(self, request: Request, run: Run) -> bool:
        """Answer what needs no waiting, while nothing else of this child waits: a task for each would be the dearest part of it."""
        if self._tasks or not self._connection.taking.is_set():
            return False
        try:
            result = self._services.call_now(run, request.method, request.params)
        except CallError as error:
            self._refuse(request, error.type, str(error))
            return True
        if result is LATER:
            return False
        self._answer(request, result)
        return True

    def _answer(self, request: Request, result: Any) -> None:
        try:
            self._connection.result(request.id, result)
        except ProtocolError as error:
            self._refuse(request, "ProtocolError", str(error))

    def _hold(self, size: int) -> None:
        """Count the bytes that wait for their answer, and let the child wait while they are too many."""
        self._held += size
        if not self._holding and self._held > MOST_HELD:
            self._holding = True
            self._connection.hold()
        elif self._holding and self._held <= MOST_HELD // 2:
            self._holding = False
            self._connection.release()

    async def _serve(self, request: Request, run: Run, pause: float) -> None:
        if pause > 0:
            await asyncio.sleep(pause)
        async with self._places:
            # A child that asks, and never reads, would fill the host with answers.
            await self._connection.taking.wait()
            if run.ended:
                self._refuse(request, "RunNotLiveError", "this run is not live in this child")
                return
            try:
                result = await self._services.call(run, request.method, request.params)
            except CallError as error:
                self._refuse(request, error.type, str(error))
                return
            self._answer(request, result)

    def _refuse(self, request: Request, type: str, message: str) -> None:
        error: dict[str, Any] = {"type": type, "message": message, "stack": "", "retry": None, "data": None}
        self._connection.error(request.id, error)

    def notification(self, event: Notification, runs: dict[str, Run]) -> None:
        """Take in a log line or progress; what belongs to no live run is the child's, or dropped."""
        params = event.params
        run = live_run(runs, params)
        if event.method == "ctx.logger.log":
            line = log_line(params, MAX_LOG_LINE)
            if line is None:
                self._strike("it sent malformed log lines")
            elif run is not None:
                _count(run, event.method)
                self._services.log(run, line)
            else:
                self._services.child_log(self._bundle, self._pid, line, list(runs.values()))
        elif event.method == "ctx.progress":
            value = params.get("value")
            if not is_json(value):
                self._strike("it sent malformed progress")
            elif run is not None:
                _count(run, event.method)
                self._services.progress(run, value)  # type: ignore[arg-type]
        else:
            self._strike(f"it sent {STRIKES} unknown notifications")

    def _strike(self, reason: str) -> None:
        self._strikes += 1
        if self._strikes >= STRIKES:
            self._connection.lost(f"it broke the protocol: {reason}")

    def cancel(self) -> None:
        """The child is gone: nobody waits for the answers any more."""
        for task in self._tasks:
            task.cancel()


def _count(run: Run, method: str) -> None:
    account = run.account
    if account is not None:
        account.calls += 1
        account.last_call = method
