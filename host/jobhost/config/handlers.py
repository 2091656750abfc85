"""Settings of a handler: `[handlers."NAME"]`, and the same for what a handler's own code declares."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ..queues.limits import paths_of
from . import units
from .breakers import Breaker, BreakerOption
from .json_values import json_problem
from .problems import KeyPath, Problem
from .queues import RateLimit
from .retry import BACKOFF, RULES, BackoffTable, RetryRule
from .schema import WRONG, ListOf, Table, key, table

if TYPE_CHECKING:
    from .document import Config


_NAMES = ListOf(units.name)


def _schema(value: object) -> dict[str, Any] | bool:
    """A JSON Schema. Whether it is a right one, the SDK says that compiles it."""
    if not isinstance(value, (dict, bool)):
        raise ValueError(f"should be a JSON Schema, not {units.shown(value)}")
    if problem := json_problem(value):
        raise ValueError(problem)
    return value


class _Emits:
    """Triggers: a list, or a table from trigger to the schema of its payloads."""

    def settle(self, written: Any, at: KeyPath, problems: list[Problem]) -> Any:
        if isinstance(written, list):
            return dict.fromkeys(_NAMES.settle(written, at, problems))
        if not isinstance(written, dict):
            text = f"should be a list of triggers, or a table from trigger to JSON Schema, not {units.shown(written)}"
            problems.append(Problem(at, text))
            return WRONG
        found: dict[str, Any] = {}
        for trigger, schema in written.items():
            try:
                found[units.name(trigger)] = None if schema is None else _schema(schema)
            except ValueError as error:
                problems.append(Problem((*at, trigger), str(error)))
        return found


@table
class FlowOption(Table):
    """How a handler takes part in flows (design section 6)."""

    name: str | None = key(units.name, default=None)
    step: str | None = key(units.name, default=None)
    subscribes: list[str] = key(_NAMES, factory=list)
    emits: dict[str, dict[str, Any] | bool | None] = key(_Emits(), factory=dict)
    """The schemas of what it emits, by trigger; None: any payload. Written as a table, or as a list of triggers."""
    join: Literal["each", "all"] = key(units.one_of("each", "all"), default="each")
    on_failure: Literal["fail", "continue"] = key(units.one_of("fail", "continue"), default="fail")
    """Whether the flow has failed when this step has."""
    cycles: bool = key(units.flag, default=False)
    """Whether this step may lead back to itself."""

    def listing(self) -> dict[str, Any]:
        """As listings show it: of what it emits the names."""
        shown = {of.name: getattr(self, of.name) for of in fields(self)}
        return {**shown, "emits": list(self.emits)}


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
    """A JSON Schema. `true`, as code tells it: something that has none."""
    result: dict[str, Any] | bool | None = key(_schema, default=None)
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


def schemas_of(config: Config, every: bool = False) -> dict[str, dict[str, Any]]:
    """What the file says of the values of handlers, by name, as the option `schemas` of `initialize` has it.

    `every`: of a bundle with `job = "*"`, whose handlers serve every name: what `"*"` says holds for each of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, options in config.handlers.items():
        said: dict[str, Any] = {}
        if options.input is not None:
            said["input"] = options.input
        if options.result is not None:
            said["result"] = options.result
        if options.flow is not None:  # it takes the place of the code's as a whole
            said["emits"] = options.flow.emits
        if said:
            found["" if every and name == "*" else name] = said
    return found
