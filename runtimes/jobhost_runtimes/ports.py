"""The `Port`s of runs inside the host's process: calls cross to the host's loop, where they are checked as those of a child are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from jobhost_sdk.errors import CallError, call_error

from .answers import MAX_LOG_LINE
from .calls import REQUESTS, log_line, params_problem
from .json_text import is_json
from .run import Run
from .services import Services


class HostSide:
    """What both ports share: one run's way to the services, on the host's loop."""

    def __init__(self, run: Run, services: Services, host_loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._services = services
        self._loop = host_loop

    async def _serve(self, method: str, params: dict[str, Any]) -> Any:
        """Answer as a child is answered: with the exception of the error's own type."""
        try:
            return await self._answer(method, params)
        except CallError as error:
            raise call_error({"type": error.type, "message": str(error)}) from error

    async def _answer(self, method: str, params: dict[str, Any]) -> Any:
        if self._run.ended:
            raise CallError("this run is over", "RunNotLiveError")
        if method not in REQUESTS or method not in self._services.methods:
            raise CallError(f"the host has no method {method!r}", "UnknownMethodError")
        if problem := params_problem(method, params):
            raise CallError(problem, "InvalidParamsError")
        return await self._services.call(self._run, method, params)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Hand a log line or progress to the host's loop; nothing if that has closed."""
        try:
            self._loop.call_soon_threadsafe(self._noted, method, params)
        except RuntimeError:
            pass  # the host has stopped; a log line is never worth an error

    def _noted(self, method: str, params: dict[str, Any]) -> None:
        if self._run.ended:
            return
        if method == "ctx.logger.log":
            line = log_line(params, MAX_LOG_LINE)
            if line is not None:
                self._services.log(self._run, line)
        elif method == "ctx.progress" and is_json(params.get("value")):
            self._services.progress(self._run, params["value"])


class AsyncSide(HostSide):
    """The `Port` of an asynchronous handler on the handlers' loop."""

    def call(self, method: str, params: dict[str, Any]) -> Awaitable[Any]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._serve(method, params), self._loop))


class HereSide(HostSide):
    """The `Port` of an asynchronous handler on the host's own loop."""

    def call(self, method: str, params: dict[str, Any]) -> Awaitable[Any]:
        return self._serve(method, params)


class SyncSide(HostSide):
    """The `SyncPort` of a handler in a thread."""

    def call(self, method: str, params: dict[str, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(self._serve(method, params), self._loop).result()
