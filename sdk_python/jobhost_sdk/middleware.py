"""Middleware of a handler: functions around it, each called as `(job, ctx, call_next)`.

    async def timed(job, ctx, call_next):
        began = time.monotonic()
        try:
            return await call_next()
        finally:
            ctx.logger.info("done", seconds=time.monotonic() - began)

The first of the list is the outermost. Those of a synchronous handler are synchronous too: `return call_next()`.
"""

from __future__ import annotations

from .calling import is_async
from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Call = Callable[[Any, Any], Any]


def wrapped(call: Call, declared: Any, kind: str) -> Call:
    """The handler `call` with its middleware around it. Raises ConfigurationError at what can't be its middleware."""
    if not isinstance(declared, (list, tuple)) or not all(map(callable, declared)):
        raise ConfigurationError("middleware is a list of functions (job, ctx, call_next)")
    for one in reversed(declared):
        if kind == "sync" and is_async(one):
            name = getattr(one, "__name__", repr(one))
            raise ConfigurationError(
                f"the middleware {name} is asynchronous and its handler is not: it could not be awaited"
            )
        call = _around_async(one, call) if kind == "async" else _around(one, call)
    return call


def _around(one: Callable[..., Any], inner: Call) -> Call:
    return lambda job, ctx: one(job, ctx, lambda: inner(job, ctx))


def _around_async(one: Callable[..., Any], inner: Call) -> Call:
    async def call(job: Any, ctx: Any) -> Any:
        given = one(job, ctx, lambda: inner(job, ctx))
        return await given if hasattr(given, "__await__") else given

    return call
