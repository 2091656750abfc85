"""Middleware of a handler, in the language of the handler: around it, the first of the list outermost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from jobhost.errors import ConfigurationError
from jobhost.queues.memory import MemoryBackend

from .functions import serving as serving_functions
from .hosting import Hosted, error_of, hosted, result_of
from .test_contracts import PYTHON, RUNTIMES

pytestmark = pytest.mark.anyio


@pytest.fixture(params=list(RUNTIMES))
async def serving(request: pytest.FixtureRequest) -> AsyncIterator[Hosted]:
    async with hosted(MemoryBackend(), RUNTIMES[request.param]) as serving:
        assert serving.host.catalogue.problems == []
        yield serving


async def test_middleware_is_around_the_handler_in_order(serving: Hosted) -> None:
    """M2: it sees job and ctx, and gives the result."""
    inside = ["inner", "attempt 1", "inner"]
    assert result_of(await serving.run("wrapped", "hi")) == ["outer", "hi", inside, "outer"]


async def test_middleware_may_do_without_the_handler(serving: Hosted) -> None:
    """M2: what it returns is the result, which is checked like any other."""
    assert result_of(await serving.run("wrapped", "closed")) == ["outer", "closed", "not today", "outer"]


async def test_what_middleware_raises_is_the_handlers_error(serving: Hosted) -> None:
    """M2: retried by the job's policy."""
    job = await serving.run("wrapped", "broken", attempts=2)
    assert (job.state, job.attempts_made) == ("failed", 2)
    assert error_of(job)["message"] == "the middleware is broken"


@pytest.mark.parametrize("serving", PYTHON, indirect=True)
async def test_around_an_async_handler_sync_middleware_may_hand_on(serving: Hosted) -> None:
    """M2: it returns what `call_next` gives. (Node knows one kind of handler.)"""
    assert result_of(await serving.run("wrapped_async", 1)) == ["outer", 1, "attempt 1", "outer"]
    assert result_of(await serving.run("wrapped_async", "closed")) == ["outer", "closed", "not today", "outer"]
    assert error_of(await serving.run("wrapped_async", "broken", attempts=1))["message"] == "the middleware is broken"


async def test_from_code_and_what_cannot_be_middleware() -> None:
    """M2, D1: `Host.register(fn, middleware=[…])`; a mistake is said when the handler is registered."""

    def work(job: Any, ctx: Any) -> int:
        return 1

    def plus(job: Any, ctx: Any, call_next: Any) -> int:
        return int(call_next()) + 1

    async def later(job: Any, ctx: Any, call_next: Any) -> Any:
        return await call_next()

    async with serving_functions(MemoryBackend(), {"work": (work, {"middleware": [plus, plus]})}) as host:
        assert result_of(await host.run("work")) == 3
        for wrong, text in (
            (7, "is a list of functions"),
            ([7], "is a list of functions"),
            ([later], "later is async"),
        ):
            with pytest.raises(ConfigurationError, match=text):
                host.host.register(work, "other", middleware=wrong)
