"""How a file says that something in it is a handler: `@handler(...)`, `class X(Handler)`, or a plain `def handler`.

This module only attaches what the author wrote; `discovery` finds it, and the host judges it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar, overload

    from .job import Job

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(function):
        return function


SETTINGS = (
    "name",
    "queue",
    "timeout",
    "concurrency",
    "attempts",
    "backoff",
    "description",
    "version",
    "author",
    "input",
    "result",
    "middleware",
    "flow",
    "retry",
    "breaker",
    "requires",
    "key",
    "per_key",
    "rate_limit",
    "global_concurrency",
)
"""What may be set in `@handler(...)`, in `config = {...}` or as an attribute of a `Handler` class."""

MARK = "__jobhost__"
"""The attribute that carries the settings of a decorated function or class. `functools.wraps` takes it along."""


@overload
def handler(name: F) -> F: ...
@overload
def handler(name: str | None = None, **settings: Any) -> Callable[[F], F]: ...  # noqa: F811
def handler(name: Any = None, **settings: Any) -> Any:  # noqa: F811
    """Make a function or a `Handler` class a handler; it stays what it is and can be called as before.

    `name`: the job name it serves, `*` for every job of its queue; by default the file's stem. Settings, all optional:

    - `queue`: where producers send by default; `"default"`
    - `timeout`: a duration such as `"30s"`, or `"none"`; `"1h"`
    - `concurrency`: most runs at once in one host
    - `attempts`, `backoff`, `retry`: as in `[queues.*]` of jobhost.toml
    - `breaker`: the name of one of `[breakers]` of jobhost.toml, or one of its own: `{"failures", "within", "open_for"}`
    - `input`: a JSON Schema (a dict), or a pydantic model, which `job.data` then is an instance of
    - `result`: the same for what the handler returns; an instance of the model becomes its JSON
    - `flow`: `{"name", "step", "subscribes", "emits", "join"}`; `emits` is a list, or a dict from trigger to schema or model
    - `middleware`: functions `(job, ctx, call_next)` around the handler, the first the outermost
    - `description`, `version`, `author`; `requires`: names of handlers it depends on; `key`: where in a job's
      data or metadata the key is by which its jobs take turns (`"data.customer_id"`)
    - `global_concurrency`, `rate_limit`, and `per_key` (`{"concurrency", "rate_limit"}`): limits over all hosts

    Raises TypeError at any other setting.
    """
    if callable(name):  # @handler without parentheses
        setattr(name, MARK, {})
        return name
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a handler is a str, not {type(name).__name__}")
    for key in settings:
        if key not in SETTINGS:
            raise TypeError(unknown_setting(key))
    if name is not None:
        settings["name"] = name

    def attach(target: F) -> F:
        setattr(target, MARK, settings)
        return target

    return attach


def unknown_setting(key: object) -> str:
    """Say that there is no such setting, and which one may have been meant."""
    from difflib import get_close_matches

    close = get_close_matches(str(key), SETTINGS, 1)
    return f"unknown setting {key!r} of a handler" + (f"; did you mean {close[0]!r}?" if close else "")


class Handler:
    """A handler as a class, for those who share code by inheritance. One instance serves all runs of its child.

    Write `def run(self, job, ctx)` or `async def run(self, job, ctx)`. Settings are class attributes (`queue = "images"`),
    a class attribute `config = {...}`, or `@handler(...)` on the class.
    """

    def run(self, job: Job, ctx: Any) -> Any:
        """Do the work of one attempt and give its result, a JSON value."""
        raise NotImplementedError
