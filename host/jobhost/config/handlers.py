"""Settings of a handler: `[handlers."NAME"]`, and the same for what a handler's own code declares."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ..queues.limits import paths_of
from . import units
from .breakers import Breaker, BreakerOption
from .problems import Problem
from .queues import RateLimit
from .retry import BACKOFF, RULES, BackoffTable, RetryRule
from .schema import ListOf, Table, key, table

if TYPE_CHECKING:
    from .document import Config


_NAMES = ListOf(units.name)


@table
class FlowOption(Table):
    """How a handler takes part in flows (design section 6)."""

    name: str | None = key(units.name, default=None)
    step: str | None = key(units.name, default=None)
    subscribes: list[str] = key(_NAMES, factory=list)
    emits: list[str] = key(_NAMES, factory=list)
    join: Literal["each", "all"] = key(units.one_of("each", "all"), default="each")
    on_failure: Literal["fail", "continue"] = key(units.one_of("fail", "continue"), default="fail")
    """Whether the flow has failed when this step has."""
    cycles: bool = key(units.flag, default=False)
    """Whether this step may lead back to itself."""


def _schema(value: object) -> dict[str, Any] | bool:
    if not isinstance(value, (dict, bool)):
        raise ValueError(f"should be a JSON Schema, not {units.shown(value)}")
    return value


def _paths(value: object) -> str | list[str]:
    paths = [units.name(path) for path in value] if isinstance(value, list) and value else [units.name(value)]
    paths_of(paths)
    return paths if isinstance(value, list) else paths[0]


@table
class PerKey(Table):
    """What holds for the jobs of each key, on all hosts together."""

    concurrency: int | None = key(units.count, default=None)
    rate_limit: RateLimit | None = key(RateLimit, default=None)


@table
class HandlerOptions(Table):
    """One layer of a handler's settings; None is unset. `timeout` in milliseconds, 0 for none."""

    name: str | None = key(units.name, default=None)
    queue: str | None = key(units.name, default=None)
    timeout: int | None = key(units.timeout, default=None)
    concurrency: int | None = key(units.count, default=None)
    attempts: int | None = key(units.count, default=None)
    backoff: BackoffTable | None = key(BACKOFF, default=None)
    description: str | None = key(units.text, default=None)
    version: str | None = key(units.text, default=None)
    author: str | None = key(units.text, default=None)
    input: dict[str, Any] | bool | None = key(_schema, default=None)
    """A JSON Schema."""
    flow: FlowOption | None = key(FlowOption, default=None)
    enabled: bool | None = key(units.flag, default=None)
    retry: dict[str, RetryRule] | None = key(RULES, default=None)
    """What holds for some errors, by the name of their class."""
    breaker: str | Breaker | None = key(BreakerOption, default=None)
    """The name of one of `[breakers]`, or one of its own."""
    requires: list[str] | None = key(_NAMES, default=None)
    global_concurrency: int | None = key(units.count, default=None)
    """Most runs at once on all hosts together."""
    rate_limit: RateLimit | None = key(RateLimit, default=None)
    """On all hosts together, like that of a queue."""
    per_key: PerKey | None = key(PerKey, default=None)
    # The last one: its name hides the function's.
    key: str | list[str] | None = key(_paths, default=None)
    """Where in a job's data or metadata its key is: jobs of different keys take turns."""


def declared_options(settings: dict[str, Any]) -> tuple[HandlerOptions, list[str]]:
    """Check what a handler's code declares. Gives the options that are right, and a text for each that is not.

    A wrong option is left out, the others hold: it is the caller who decides whether the handler is served.
    """
    problems: list[Problem] = []
    options = HandlerOptions.settle(settings, (), problems)
    return options, [f"{problem.key}: {problem.text}" for problem in problems]


def handler_options(name: str, code: HandlerOptions | None, config: Config) -> HandlerOptions:
    """A handler's settings with `[handlers."NAME"]` put over what its code says."""
    below = code or HandlerOptions()
    above = config.handlers.get(name)
    if above is None:
        return below
    given = {name: value for name in _KEYS if (value := getattr(above, name)) is not None}
    if above.backoff is not None and below.backoff is not None:
        own = {name: value for name, value in above.backoff.model_dump().items() if value is not None}
        given["backoff"] = replace(below.backoff, **own)
    return replace(below, **given)


_KEYS = tuple(field.name for field in fields(HandlerOptions))
