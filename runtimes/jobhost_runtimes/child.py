"""One child: started, asked what it holds, given runs, and stopped.

Everything fails closed: an end of file, a broken frame, an answer nobody asked for or an exit before the answer ends
the child, and each of its runs ends as lost, never as done.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobhost_sdk.errors import ProtocolError
from jobhost_sdk.wire.peer import Request, Response

from .answers import MAX_LOG_LINE, Answers
from .blame import Death, blame, death_error, ending
from .bundle import BundleSpec, Contents
from .connection import Connection
from .deadlines import Deadlines
from .dossier import STACKS
from .errors import ChildStartError
from .json_text import is_json
from .ledger import Ledger
from .memory import Growth
from .process import Process
from .receipts import frame_of
from .reports import contents_of, problems_of, raised
from .run import Ending, Outcome, Run, host_error, timeout_verdict
from .services import Line, Services
from .stderr import StderrReader
from .template import Template

if TYPE_CHECKING:
    from jobhost_sdk.wire.peer import Event

LOG_RATE = 500
LOG_BURST = 1000
OWN_EXIT = 0.5
"""Seconds that a child which closed its wire gets to exit by itself, so that its exit code can be told."""
CLOSED = "it closed its wire before it answered"
GOODBYE = 2.0
"""Seconds for teardown after `shutdown`."""


class Child:
    """A process that runs handlers of one bundle.

    `on_free` is called after runs have ended, `on_gone` once, when the process is dead and all its runs have ended.
    """

    def __init__(
        self,
        bundle: BundleSpec,
        services: Services,
        deadlines: Deadlines,
        template: Template,
        on_free: Callable[[Child], None],
        on_gone: Callable[[Child], None],
    ) -> None:
        self.bundle = bundle
        self._template = template
        self.runs: dict[str, Run] = {}
        self.ready = False
        self.dying = False
        self.retiring = False
        """It gets no more runs."""
        self.reserved = False
        """It waits for, or holds, a run that must be alone."""
        self.runs_taken = 0
        self.ready_since = self.idle_since = time.monotonic()
        self.depth = 1
        """Runs of a sync handler it may hold; see `prefetch`."""
        self.pid = 0
        self._services = services
        self._deadlines = deadlines
        self._on_free = on_free
        self._on_gone = on_gone
        self._sync_queue: list[Run] = []
        self._tickets: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        self._process: Process | None = None
        self._connection: Connection | None = None
        self._stderr = StderrReader(self._stderr_line)
        self._asked: set[asyncio.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._death = Death()
        self._ledger = Ledger(self._stderr, bundle.language == "python")
        self._gone = asyncio.Event()
        self.last_mark = 0.0
        self._growth = Growth()

    # Start --------------------------------------------------------------------------------------------------------

    async def start(self) -> Contents:
        """Start the process and learn its handlers. Raises ChildStartError; the process is gone then."""
        try:
            async with asyncio.timeout(self.bundle.start_timeout):
                return await self._start()
        except TimeoutError:
            reason = f"it did not answer within {self.bundle.start_timeout:g} s of its start"
        except ChildStartError as error:
            reason = str(error)
        except BaseException:
            await self._end(None)
            raise
        await self._end(None)
        if reason == CLOSED and self._death.returncode is not None:
            reason = f"it {ending(self._death.returncode)} before it answered"
        raise ChildStartError(
            _with_tail(f"the child of bundle {self.bundle.name} did not start: {reason}", self._stderr.tail())
        )

    async def _start(self) -> Contents:
        began = time.monotonic()
        started = await self._template.start()
        process = self._process = Process(started, self._exited)
        self.pid = process.pid
        process.hold(self.bundle.limits.memory, self.bundle.limits.processes, self.over_memory)
        await self._stderr.open(process.stderr)
        connection = self._connection = Connection(self._events, self._lost)
        self._answers = Answers(self.bundle.name, process.pid, self._services, connection)
        if isinstance(process.wire, tuple):
            await connection.open_pipes(*process.wire)
        else:
            await connection.open_socket(process.wire)
        root = self.bundle.root if self.bundle.root.is_dir() else self.bundle.root.parent
        answer = await self._ask(
            "initialize",
            {
                "protocol": 1,
                "bundle": {"root": str(root), "files": json.dumps(self.bundle.files).encode()},
                "options": self._options(),
            },
        )
        contents = contents_of(answer)
        process.hold_all()
        process.yield_processor()
        frame = frame_of(self.bundle, process.pid, time.monotonic() - began, started.code)
        self._ledger.open(process.interpreter, frame, connection)
        self._kinds = {handler.name: handler.kind for handler in contents.handlers}
        self.ready = True
        self.ready_since = self.idle_since = time.monotonic()
        return contents

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "methods": json.dumps(list(self._services.methods)).encode(),
            "max_log_line": MAX_LOG_LINE,
            "log_rate": LOG_RATE,
            "log_burst": LOG_BURST,
        }
        return {**options, "schemas": self.bundle.schemas} if self.bundle.schemas else options

    async def validate(self, handler: str, data: bytes) -> list[dict[str, str]]:
        """See `Runtime.validate`."""
        try:
            return problems_of(await self._ask("validate", {"handler": handler, "data": data}))
        except ProtocolError as error:  # larger than a frame
            raise ChildStartError(str(error)) from error

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        """A request of the child's life, not of a run."""
        connection = self._connection
        if connection is None or self.dying:
            raise ChildStartError(CLOSED)
        future = asyncio.get_running_loop().create_future()
        self._asked.add(future)
        try:
            connection.request(method, params, future)
            return await future
        finally:
            self._asked.discard(future)

    # Runs ---------------------------------------------------------------------------------------------------------

    def is_sync(self, handler: str) -> bool:
        return self._kinds.get(handler, "sync") == "sync"

    @property
    def epitaph(self) -> str:
        """How it died, in words."""
        return death_error(self._death)["message"]

    @property
    def busy_with_sync(self) -> bool:
        return bool(self._sync_queue)

    def execute(self, run: Run) -> None:
        """Hand over a run. The caller has seen to it that there is room for it."""
        connection = self._connection
        assert connection is not None
        if run.timeout_ms:
            run.context["deadline_ms"] = int(time.time() * 1000) + run.timeout_ms
        try:
            connection.request(
                "execute", {"run": run.token, "handler": run.handler, "job": run.job, "context": run.context}, run
            )
        except ProtocolError as error:  # larger than a frame
            run.end(Outcome(Ending.RAISED, error=host_error("ProtocolError", str(error)), retry=False))
            return
        self.runs[run.token] = run
        self.runs_taken += 1
        if self.is_sync(run.handler):
            self._sync_queue.append(run)
            if len(self._sync_queue) == 1:
                self.last_mark = time.monotonic()
                self._started(run)
        else:
            self._started(run)

    def _started(self, run: Run) -> None:
        run.started = True
        # Of sync handlers the others in the child wait.
        self._ledger.begin(run, len(self.runs) > 1 and not self._sync_queue, len(self.runs) == 1)
        if run.timeout_ms:
            token = run.token
            self._tickets[token] = self._deadlines.add(token, run.timeout_ms / 1000, lambda: self._timed_out(run))

    def _timed_out(self, run: Run) -> None:
        if not run.ended:
            if self.bundle.language == "python" and self._process is not None and not self.dying:
                self._ledger.asked_for_stacks()
                self._process.signal(STACKS)  # before anything tells the handler: where it is is what one wants to know
            self._stop_run(run, timeout_verdict(run.timeout_ms))

    def cancel(self, run: Run, reason: str) -> None:
        """Tell the handler, and end it by force after the grace."""
        if not run.ended and run.verdict is None:
            self._stop_run(run, Outcome(Ending.CANCELLED, reason=reason))

    def recall(self, runs: list[Run]) -> None:
        """Ask for runs back that have not started; those that have go on."""
        if self._connection is None or self._process is None:
            return
        for run in runs:
            run.recalled = True
            self._connection.notify("cancel", {"run": run.token, "reason": "recall"})
        self._process.signal(signal.SIGURG)

    def _stop_run(self, run: Run, verdict: Outcome) -> None:
        run.verdict = verdict
        if self._connection is None or self._process is None or self.dying:
            return
        self._connection.notify("cancel", {"run": run.token, "reason": verdict.reason})
        self._process.signal(signal.SIGURG)
        timeout = self._tickets.get(run.token)
        if timeout is not None:
            self._deadlines.remove(run.token, timeout)  # or it would come in the grace and change the verdict
        self._tickets[run.token] = self._deadlines.add(
            (run.token, "grace"), self.bundle.limits.grace, lambda: self._grace_over(run)
        )

    def _grace_over(self, run: Run) -> None:
        if run.ended or self.dying or not run.started:
            return  # one that waits behind another is answered when its turn comes
        self._death.culprit = run
        self._begin_death(f"run {run.label} did not end within its grace", gently=True)

    def _answered(self, run: Run, error: dict[str, Any] | None, result: Any) -> bool:
        """A run's answer; False if the run had not begun: such a one says nothing of how long runs take."""
        unstarted = error is not None and error["type"] == "NotStartedError"
        if unstarted and (run.recalled or not run.started):
            self._finish(run, Outcome(Ending.UNSTARTED))
            return False
        verdict = run.verdict
        if verdict is not None and verdict.ending is Ending.TIMED_OUT:
            self._ledger.document(run, verdict, self._death)
        if error is not None:
            self._finish(run, raised(error))
        elif is_json(result):
            self._finish(run, Outcome(Ending.RETURNED, result=result))
        else:
            message = "the child answered with what is not JSON text"
            self._finish(run, Outcome(Ending.RAISED, error=host_error("ProtocolError", message, "child")))
        return True

    def _finish(self, run: Run, outcome: Outcome) -> None:
        self._forget(run)
        queue = self._sync_queue
        if queue:
            if queue[0] is run:
                queue.pop(0)
                if queue:
                    self._started(queue[0])
            elif run in queue:
                queue.remove(run)
        outcome.receipt = self._ledger.receipt(run, bool(self.runs) and not self.is_sync(run.handler))
        run.end(outcome)

    def _forget(self, run: Run) -> None:
        token = run.token
        del self.runs[token]
        ticket = self._tickets.pop(token, None)
        if ticket is not None:
            # A run with a verdict has had its timeout; its ticket is that of the grace.
            self._deadlines.remove(token if run.verdict is None else (token, "grace"), ticket)

    # The wire -----------------------------------------------------------------------------------------------------

    def _events(self, events: list[Event]) -> None:
        finished = 0
        answered = False
        for event in events:
            if type(event) is Response:
                cookie = event.cookie
                if type(cookie) is Run:
                    answered = True
                    finished += self._answered(cookie, event.error, event.result)
                elif not cookie.done():
                    if event.error is None:
                        cookie.set_result(event.result)
                    else:
                        cookie.set_exception(ChildStartError(_told(event.error)))
            elif type(event) is Request:
                self._answers.request(event, self.runs)
            else:
                self._answers.notification(event, self.runs)  # type: ignore[arg-type]
            if self.dying:
                return
        if finished:
            self._mark(finished)
        if answered:
            if not self.runs:
                self.idle_since = time.monotonic()
            self._on_free(self)

    def swollen(self) -> bool:
        """No run is in it, and it has kept so much memory of those it had that the next may meet its limit."""
        return not self.runs and self._growth.too_much(self.pid, self.bundle.limits.memory, time.monotonic())

    def _mark(self, finished: int) -> None:
        """Let the depth follow how long runs take: prefetching hides a wake-up of 60 us, and costs fairness for long runs.

        Either depth is about ten milliseconds of work at most. 32 instead of 16 lifts no-ops by a quarter, and by a third on
        SQLite, whose commits grow with it.
        """
        now = time.monotonic()
        each = (now - self.last_mark) / finished
        self.last_mark = now
        self.depth = 32 if each < 0.0003 else 16 if each < 0.001 else 2 if each < 0.01 else 1

    def _stderr_line(self, text: str) -> None:
        line = Line(int(time.time() * 1000), "info", text, None, "stderr")
        live = [run for run in self.runs.values() if run.started]
        if len(live) == 1:
            self._services.log(live[0], line)
        else:
            self._services.child_log(self.bundle.name, self.pid, line, live)

    # Its end ------------------------------------------------------------------------------------------------------

    def _lost(self, reason: str | None) -> None:
        """The wire is gone: end of file (None), or a violation."""
        if reason is None:
            self._begin_death(None)
        else:
            self._death.violation = reason
            self._begin_death(reason)

    def _exited(self, returncode: int) -> None:
        self._begin_death(None)

    def over_memory(self, used: int, limit: int) -> None:
        """Kill the child because its tree uses more memory than it may. Bytes."""
        if not self.dying:
            self._death.memory = (used, limit)
            self._begin_death("it used too much memory")

    def cpu_of_run(self) -> float:
        """Seconds of processor time that the one run which is under way has taken; 0 if it is not alone."""
        return self._ledger.processor_time(self.runs.values())

    @property
    def memory_held(self) -> bool:
        """The kernel watches its memory."""
        return self._process is not None and self._process.held

    def over_processes(self, seen: int, limit: int) -> None:
        """Kill the child because its tree has more processes than it may."""
        if not self.dying:
            self._death.processes = (seen, limit)
            self._begin_death("it had too many processes")

    def over_time(self, used: float, limit: float) -> None:
        """Kill the child because its run has used more processor time than it may. Seconds."""
        if not self.dying:
            self._death.cpu_time = (used, limit)
            self._begin_death("its run used too much processor time")

    def _begin_death(self, reason: str | None, gently: bool = False) -> None:
        if self.dying:
            return
        self.dying = True
        self.ready = False
        for future in self._asked:
            if not future.done():
                future.set_exception(ChildStartError(reason or CLOSED))
        task = asyncio.get_running_loop().create_task(self._die(reason, gently))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _die(self, reason: str | None, gently: bool) -> None:
        process = self._process
        if process is not None:
            if gently:
                await process.terminate()
            elif reason is None:
                # End of file: it is exiting, and how says why.
                await process.wait(OWN_EXIT)
            await process.kill()
            self._death.returncode = process.returncode
            self._death.memory = self._death.memory or process.exceeded
            try:
                async with asyncio.timeout(0.2):
                    await self._stderr.ended.wait()
            except TimeoutError:
                self._stderr.close()  # a grandchild holds the pipe
        if self._connection is None and process is not None:
            process.close_wire()  # its start was given up before anybody took it over
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._answers.cancel()
        self._death.tail = self._stderr.tail()
        self._end_runs()
        self._gone.set()
        self._on_gone(self)

    def _end_runs(self) -> None:
        runs = list(self.runs.values())
        for run, outcome in blame(self._death, runs):
            self._finish_dead(run, outcome)

    def _finish_dead(self, run: Run, outcome: Outcome) -> None:
        self._ledger.document(run, outcome if run.verdict is None else run.verdict, self._death)
        outcome.receipt = self._ledger.receipt(run, len(self.runs) > 1)
        self._forget(run)
        run.end(outcome)

    async def stop(self, now: bool = False) -> None:
        """Say goodbye and wait for its end: `shutdown`, then SIGTERM, then SIGKILL. With `now` at once by force."""
        self.retiring = True
        if self.ready and not self.runs and not now:
            self.ready = False
            try:
                async with asyncio.timeout(GOODBYE):
                    await self._ask("shutdown", {})
            except (TimeoutError, ChildStartError):
                pass  # it is ended by force below
        await self._end("the host stopped it" if now or self.runs else None)

    async def _end(self, reason: str | None) -> None:
        if self._connection is not None and not self.dying:
            self._connection.close()
        self._begin_death(reason)
        await self._gone.wait()


def _told(error: dict[str, Any]) -> str:
    return f"{error['type']}: {error.get('message', '')}"


def _with_tail(message: str, tail: str) -> str:
    return f"{message}\nits last lines of stderr:\n{tail}" if tail else message
