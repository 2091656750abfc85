"""Runs one handler, with the SDK's own `job` and `ctx`, and the checks of a real run."""

from __future__ import annotations

import os
from time import time

from ..context import Context, SetupContext, SyncContext
from ..discovery import Loaded, LoadedHandler, forget_bundle, load_bundle, load_function
from ..errors import CancelledError, ConfigurationError
from ..job import Job
from ..json_values import encode
from ..services import Services
from .port import AsyncFakePort, FakePort
from .ran import Ran
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from ..durations import Duration

    State = Union[Store, dict[str, Any], None]


def run(handler: Any, data: Any = None, **options: Any) -> Ran:
    """Run a handler once, to its end; gives what it did. What the handler raises is in `Ran.error`, and raised by `Ran.result`.

    `handler`: a function, a `Handler` class, or the path of a file; `name` chooses where a file holds several. `data`: a JSON value.
    Options, all optional:

    - `name`, `queue`, `id`, `attempt`, `max_attempts`, `priority`, `metadata`, `created_at` (Unix ms): of the job
    - `flow_id`, `flow_name`: the flow that the job is part of
    - `state`: a dict with what `ctx.state` holds at first, or the `Store` of a run before
    - `children`: a dict of the results of child jobs
    - `services`: a dict; else what the `setup` of the file makes, whose `teardown` runs in the end
    - `timeout`: a duration after which the run is told to stop; `cancel_when`: a function that takes the `Ran` so far and is asked with
      each call of `ctx`: true cancels the run

    Raises InvalidValueError where data, state or children are no JSON values, ConfigurationError where there is no handler.
    """
    bench = _Bench(handler, data, **options)
    if bench.is_async:
        import asyncio

        return asyncio.run(bench.run_async())
    return bench.run()


async def run_async(handler: Any, data: Any = None, **options: Any) -> Ran:
    """As `run`, for tests that are coroutines themselves."""
    return await _Bench(handler, data, **options).run_async()


class _Bench:
    """One run, prepared."""

    def __init__(
        self,
        handler: Any,
        data: Any,
        *,
        name: str | None = None,
        queue: str | None = None,
        id: str = "1",
        attempt: int = 1,
        max_attempts: int | None = None,
        priority: int = 0,
        metadata: dict[str, Any] | None = None,
        created_at: int | None = None,
        flow_id: str | None = None,
        flow_name: str | None = None,
        state: State = None,
        children: dict[str, Any] | None = None,
        services: dict[str, Any] | None = None,
        timeout: Duration | None = None,
        cancel_when: Callable[[Ran], object] | None = None,
    ) -> None:
        loaded, self._handler = _loaded(handler, name)
        settings = self._handler.settings
        flow = settings.get("flow") or {}
        name = name or self._handler.name
        created_at = int(time() * 1000) if created_at is None else created_at
        self._wire: dict[str, Any] = {
            "id": id,
            "name": name,
            "queue": queue or settings.get("queue", "default"),
            "data": encode(data, "data"),
            "attempt": attempt,
            "max_attempts": max_attempts or settings.get("attempts", 3),
            "priority": priority,
            "created_at": created_at,
        }
        if metadata is not None:
            self._wire["metadata"] = encode(metadata, "metadata")
        self._context = {"attempt": attempt, "idempotency_key": f"{self._wire['queue']}:{id}:{created_at}"}
        if flow_id is not None:
            self._context.update(
                flow_id=flow_id,
                flow_name=flow_name or flow.get("name"),
                step_name=flow.get("step") or name,
                step_id=f"{flow_id}__{name}__attempt-{attempt}",
            )
        self._timeout_ms = _milliseconds(timeout)
        store = state if isinstance(state, Store) else Store(state)
        store.begin(in_flow=flow_id is not None)
        self._ran = Ran(store)
        self.is_async = self._handler.kind == "async" or (services is None and loaded.needs_loop)
        may_emit = list(flow.get("emits") or ()) if settings.get("flow") is not None else None
        kind = AsyncFakePort if self._handler.kind == "async" else FakePort
        self._port = kind(self._ran, name, may_emit, children or {}, cancel_when)
        self._services = Services()
        self._hooks = loaded if services is None else Loaded()
        vars(self._services).update(services or {})

    # Sync -----------------------------------------------------------------------------------------------------------

    def run(self) -> Ran:
        self._set_up([hook(self._setup_context()) for hook in self._hooks.setups])
        try:
            self._judge(self._call_sync)
        finally:
            for hook in self._hooks.teardowns:
                hook(self._setup_context())
        return self._ran

    def _call_sync(self) -> Any:
        if self._timeout_ms is None:
            return self._called(SyncContext)
        from threading import Timer

        timer = Timer(self._timeout_ms / 1000, self._port.cancel, ["timeout"])
        timer.start()
        try:
            return self._called(SyncContext)
        finally:
            timer.cancel()
            timer.join()

    # Async ----------------------------------------------------------------------------------------------------------

    async def run_async(self) -> Ran:
        self._set_up([await _awaited(hook(self._setup_context())) for hook in self._hooks.setups])
        try:
            if self._handler.kind == "async":
                await self._judge_task()
            else:
                self._judge(self._call_sync)
        finally:
            for hook in self._hooks.teardowns:
                await _awaited(hook(self._setup_context()))
        return self._ran

    async def _judge_task(self) -> None:
        """A task of its own, so that cancelling the handler does not cancel the test."""
        import asyncio

        async def called() -> Any:
            return await self._called(Context)

        task = asyncio.ensure_future(called())
        self._port.interrupt = task.cancel
        timer = None
        if self._timeout_ms is not None:
            timer = asyncio.get_running_loop().call_later(self._timeout_ms / 1000, self._port.cancel, "timeout")
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()  # where the test itself was cancelled; nothing to a task that is done
            if timer is not None:
                timer.cancel()
        if task.cancelled() and self._ran.cancelled is not None:
            self._end(error=CancelledError(self._ran.cancelled))
        elif task.cancelled():
            self._end(error=asyncio.CancelledError())
        else:
            self._judge(task.result)

    # Both -----------------------------------------------------------------------------------------------------------

    def _called(self, kind: Any) -> Any:
        """Call the handler as a child does; of an asynchronous one this gives what is to be awaited."""
        job = Job(self._wire)
        if self._handler.validate is not None:
            job._data = self._handler.validate(self._wire["data"])
        deadline = None if self._timeout_ms is None else int(time() * 1000) + self._timeout_ms
        payloads = self._handler.payloads
        ctx = kind(self._port, job, self._context, self._services, self._port.cancellation, deadline, payloads=payloads)
        return self._handler.call(job, ctx)

    def _encoded(self, returned: Any) -> bytes:
        """What the handler returned, checked as a child does."""
        check = self._handler.encode_result
        return encode(returned, "result") if check is None else check(returned)

    def _judge(self, call: Callable[[], Any]) -> None:
        try:
            self._end(returned=self._encoded(call()))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler fails the run, not the test run
            self._end(error=error)

    def _end(self, returned: bytes | None = None, error: BaseException | None = None) -> None:
        self._port.live = False
        self._ran._returned = returned
        self._ran.error = error

    def _setup_context(self) -> SetupContext:
        return SetupContext(self._services, self._port)

    def _set_up(self, made: list[Any]) -> None:
        for one in made:
            if isinstance(one, dict):
                vars(self._services).update(one)


def _loaded(handler: Any, name: str | None) -> tuple[Loaded, LoadedHandler]:
    """A handler, and the hooks of the file it is in."""
    if not isinstance(handler, (str, os.PathLike)):
        return Loaded(), load_function(handler, {})
    root, file = os.path.split(os.path.abspath(os.fspath(handler)))
    forget_bundle(root)  # so that each run begins with the module as it is in the file
    loaded = load_bundle(root, [file])
    if loaded.problems:
        problem = loaded.problems[0]
        raise ConfigurationError(f"{file}:{problem['line']}: {problem['error']}")
    found = [each for each in loaded.handlers.values() if name is None or each.name in (name, "*")]
    if len(found) != 1:
        known = ", ".join(loaded.handlers) or "none"
        raise ConfigurationError(f"{file} holds {len(found)} handlers that fit, not one: say name=, one of {known}")
    return loaded, found[0]


async def _awaited(made: Any) -> Any:
    return await made if hasattr(made, "__await__") else made


def _milliseconds(timeout: Duration | None) -> int | None:
    from ..durations import milliseconds

    return None if timeout is None else milliseconds(timeout)
