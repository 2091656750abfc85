"""Trusted Python handlers inside the host: asynchronous ones on a loop thread of their own, the others in threads.

A host that lives for the length of a test lends its own loop and its threads instead: starting them would be most of the test.

The host's loop runs no handler, so a handler that blocks holds up neither leases nor other handlers; C code that keeps the GIL is the
exception. Nothing here can be stopped by force: a run that ignores its cancellation keeps its place until it returns.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from jobhost_sdk.context import Cancellation, Context, SetupContext, SyncContext
from jobhost_sdk.discovery import Loaded, LoadedHandler, load_bundle
from jobhost_sdk.errors import InvalidJobDataError
from jobhost_sdk.failure import error_map
from jobhost_sdk.job import Job
from jobhost_sdk.json_values import encode
from jobhost_sdk.services import Services as HandlerServices

from .bundle import BundleSpec, Contents, FileProblem, HandlerInfo
from .deadlines import Deadlines
from .errors import ChildStartError
from .ports import AsyncSide, HereSide, HostSide, SyncSide
from .reports import raised
from .run import Ending, Outcome, Run, timeout_verdict
from .services import Services
from .threads import Threads

Load = Callable[[], Loaded]


class InProcess:
    """The `Runtime` of a bundle with isolation `none`. `load`: what gives its handlers, by default its files. `threads`: where those of
    the host are lent, which then runs asynchronous handlers on its own loop."""

    def __init__(
        self,
        spec: BundleSpec,
        services: Services,
        deadlines: Deadlines,
        load: Load | None = None,
        threads: Threads | None = None,
    ) -> None:
        self.spec = spec
        self.on_room: Callable[[], None] | None = None
        self._services = services
        self._deadlines = deadlines
        self._load = load or self._load_files
        self._loaded = Loaded()
        self._handler_services = HandlerServices()
        self._host_loop = asyncio.get_running_loop()
        self._live: dict[str, _Live] = {}
        self._is_guest = threads is not None
        self._threads = threads or Threads(f"handler-{spec.name}", spec.pool.concurrency)
        self._loop = self._host_loop if self._is_guest else None
        self._inbox: deque[_Live] = deque()
        self._done: deque[tuple[_Live, Outcome]] = deque()
        self._done_announced = False
        self._lock = threading.Lock()
        self._stopping = False
        self._free = asyncio.Event()

    # Start --------------------------------------------------------------------------------------------------------

    async def start(self) -> Contents:
        """Load the files on the handlers' loop thread. Raises ChildStartError if `setup` fails."""
        future = asyncio.run_coroutine_threadsafe(self._set_up(), self._open_loop())
        try:
            async with asyncio.timeout(self.spec.start_timeout):
                self._loaded = await asyncio.wrap_future(future)
        except TimeoutError:
            raise ChildStartError(
                f"bundle {self.spec.name} did not load within {self.spec.start_timeout:g} s"
            ) from None
        return contents_of(self._loaded, self.spec.language)

    def add(self, loaded: Loaded) -> Contents:
        """Serve more handlers from now on, which need no `setup`. Gives what is new."""
        self._open_loop()
        self._loaded.handlers.update(loaded.handlers)
        return contents_of(loaded, self.spec.language)

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(
                target=self._run_loop, args=(self._loop,), name=f"handlers-{self.spec.name}", daemon=True
            ).start()
        return self._loop

    def _load_files(self) -> Loaded:
        root = self.spec.root if self.spec.root.is_dir() else self.spec.root.parent
        loaded = load_bundle(str(root), self.spec.files)
        if self.spec.schemas:
            loaded.overrule(json.loads(self.spec.schemas))
        return loaded

    async def _set_up(self) -> Loaded:
        loaded = self._load()
        for hook in loaded.setups:
            try:
                made = hook(self._setup_context())
                if asyncio.iscoroutine(made):
                    made = await made
            except Exception as error:  # the bundle's code
                raise ChildStartError(
                    f"setup of bundle {self.spec.name} failed: {type(error).__name__}: {error}"
                ) from error
            if isinstance(made, dict):
                vars(self._handler_services).update(made)
        return loaded

    def _setup_context(self) -> SetupContext:
        return SetupContext(self._handler_services, _SetupPort())

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    # Runs ---------------------------------------------------------------------------------------------------------

    def room(self, handler: str) -> int:
        return 0 if self._stopping else max(0, self.spec.pool.concurrency - len(self._live))

    def submit(self, run: Run) -> None:
        handler = self._loaded.handlers[run.handler]
        live = _Live(run, handler)
        self._live[run.token] = live
        run.started = True
        if run.timeout_ms:
            live.ticket = self._deadlines.add(run.token, run.timeout_ms / 1000, lambda: self._timed_out(live))
        if handler.kind == "async":
            self._inbox.append(live)
            if len(self._inbox) == 1:
                assert self._loop is not None
                soon = self._loop.call_soon if self._is_guest else self._loop.call_soon_threadsafe
                soon(self._start_async)
        else:
            self._threads.run(partial(self._run_sync, live))

    def _run_sync(self, live: _Live) -> None:
        self._report(live, self._call_sync(live))

    def _call_sync(self, live: _Live) -> Outcome:
        port = SyncSide(live.run, self._services, self._host_loop)
        try:
            job = live.job()
            ctx = live.context(SyncContext, port, job, self._handler_services)
            return live.returned(live.handler.call(job, ctx))
        except BaseException as error:  # noqa: BLE001 - the handler's; SystemExit too must not end the thread unheard
            return raised(error_map(error))

    def _start_async(self) -> None:
        assert self._loop is not None
        while self._inbox:
            live = self._inbox.popleft()
            live.task = self._loop.create_task(self._call_async(live))

    async def _call_async(self, live: _Live) -> None:
        side = HereSide if self._is_guest else AsyncSide
        port = side(live.run, self._services, self._host_loop)
        try:
            job = live.job()
            ctx = live.context(Context, port, job, self._handler_services)
            outcome = live.returned(await live.handler.call(job, ctx))
        except BaseException as error:  # noqa: BLE001 - the handler's; also the cancellation the host asked for
            outcome = raised(error_map(error))
            if self._is_guest and isinstance(error, KeyboardInterrupt):
                self._host_loop.call_soon(_interrupt)  # on the host's own loop it is meant for whoever runs that
        self._report(live, outcome)

    async def validate(self, handler: str, data: bytes) -> list[dict[str, str]]:
        check = self._loaded.handlers[handler].validate
        try:
            if check is not None:
                await asyncio.to_thread(check, data)
        except InvalidJobDataError as error:
            return error.fields or [{"field": "", "message": str(error)}]
        except Exception as error:  # the validators of a model are the bundle's code
            text = f"the check of handler {handler!r} failed: {type(error).__name__}: {error}"
            raise ChildStartError(text) from error
        return []

    # Ends ---------------------------------------------------------------------------------------------------------

    def _report(self, live: _Live, outcome: Outcome) -> None:
        """From any thread: many ends make one wake-up of the host's loop."""
        with self._lock:
            self._done.append((live, outcome))
            if self._done_announced:
                return
            self._done_announced = True
        try:
            self._host_loop.call_soon_threadsafe(self._collect)
        except RuntimeError:
            pass  # the host's loop has closed; nobody waits for this run any more

    def _collect(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
            self._done_announced = False
        for live, outcome in done:
            run = live.run
            del self._live[run.token]
            if live.ticket is not None:
                self._deadlines.remove(run.token, live.ticket)
            run.end(outcome)
        if not self._live:
            self._free.set()
        if self.on_room is not None:
            self.on_room()

    def _timed_out(self, live: _Live) -> None:
        if not live.run.ended and live.run.verdict is None:
            live.run.verdict = timeout_verdict(live.run.timeout_ms)
            self._tell(live, "timeout")

    def cancel(self, run: Run, reason: str) -> None:
        live = self._live.get(run.token)
        if live is not None and run.verdict is None:
            run.verdict = Outcome(Ending.CANCELLED, reason=reason)
            self._tell(live, reason)

    def _tell(self, live: _Live, reason: str) -> None:
        live.cancellation.reason = reason
        if live.handler.kind == "async" and self._loop is not None:
            self._loop.call_soon_threadsafe(live.cancel_task)

    # Stop ---------------------------------------------------------------------------------------------------------

    async def stop(self, now: bool = False) -> None:
        """Cancel what runs and wait for it, at most the grace: what blocks on can't be stopped, only left behind."""
        if self._stopping:
            return
        self._stopping = True
        for live in list(self._live.values()):
            self.cancel(live.run, "shutdown")
        if self._live and not now:
            self._free.clear()
            try:
                async with asyncio.timeout(self.spec.limits.grace):
                    await self._free.wait()
            except TimeoutError:
                pass  # they are given back below and said in the log; their threads end with the process
        for live in list(self._live.values()):
            live.run.end(Outcome(Ending.CANCELLED, reason="shutdown"))
        if not self._is_guest:
            self._threads.close()
        await self._tear_down()

    async def _tear_down(self) -> None:
        loop = self._loop
        if loop is None:
            return
        if self._loaded.teardowns:
            future = asyncio.run_coroutine_threadsafe(self._teardowns(), loop)
            try:
                async with asyncio.timeout(2.0):
                    await asyncio.wrap_future(future)
            except Exception as error:  # noqa: BLE001 - the bundle's code; the host stops all the same
                self._services.child_log(self.spec.name, 0, _complaint(error), [])
        if not self._is_guest:
            loop.call_soon_threadsafe(loop.stop)

    async def _teardowns(self) -> None:
        for hook in self._loaded.teardowns:
            made = hook(self._setup_context())
            if asyncio.iscoroutine(made):
                await made


def contents_of(loaded: Loaded, language: str) -> Contents:
    """What was loaded, as every runtime tells it."""
    return Contents(
        [HandlerInfo(h.name, h.file, h.line, h.kind, h.settings) for h in loaded.handlers.values()],
        [FileProblem(p["file"], p["line"], p["error"]) for p in loaded.problems],
        language=language,
    )


class _Live:
    """A run inside this process."""

    __slots__ = ("cancellation", "handler", "run", "task", "ticket")

    def __init__(self, run: Run, handler: LoadedHandler) -> None:
        self.run = run
        self.handler = handler
        self.cancellation = Cancellation()
        self.task: asyncio.Task[None] | None = None
        self.ticket: int | None = None

    def job(self) -> Job:
        job = Job(self.run.job)
        if self.handler.validate is not None:
            job._data = self.handler.validate(self.run.job["data"])
        return job

    def context(self, kind: type[Any], port: HostSide, job: Job, services: HandlerServices) -> Any:
        """`ctx`, an instance of `kind`."""
        deadline = int(time.time() * 1000) + self.run.timeout_ms if self.run.timeout_ms else None
        return kind(port, job, self.run.context, services, self.cancellation, deadline, payloads=self.handler.payloads)

    def returned(self, result: Any) -> Outcome:
        """The outcome of a handler that returned. Raises InvalidValueError and InvalidJobDataError."""
        check = self.handler.encode_result
        return Outcome(Ending.RETURNED, result=encode(result, "result") if check is None else check(result))

    def cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()


class _SetupPort(HostSide):
    """`setup` has no run: its log lines go to the host's log by Python's logging."""

    def __init__(self) -> None:
        pass

    def notify(self, method: str, params: dict[str, Any]) -> None:
        if method == "ctx.logger.log":
            import logging

            level = logging.getLevelNamesMapping().get(str(params["level"]).upper(), logging.INFO)
            logging.getLogger("jobhost.setup").log(level, "%s", params["message"])

    def call(self, method: str, params: dict[str, Any]) -> Any:
        raise ChildStartError("setup has no run, so it has no state and no flow")


def _interrupt() -> None:
    raise KeyboardInterrupt


def _complaint(error: Exception) -> Any:
    from .services import Line

    return Line(int(time.time() * 1000), "error", f"teardown failed: {type(error).__name__}: {error}", None, "host")
