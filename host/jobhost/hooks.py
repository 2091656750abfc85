"""Hooks: code of whoever runs a host, told what becomes of its jobs.

    class StatusMirror:
        def on_completed(self, job: JobEvent) -> None: ...
        def on_failed(self, job: JobEvent) -> None: ...

`hooks = ["mypackage.status:StatusMirror"]` in jobhost.toml, `host.hook(StatusMirror)`, or `host.on_completed(function)`. Methods
may be asynchronous; one named `close` is called at the end. How and when they are called, and what is promised:
`dispatch/hooks.py`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .config.problems import InvalidConfigurationError, Problem, nearest
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .config.document import Config

Kind = Literal["before", "started", "after", "completed", "failed", "retried"]
METHODS: dict[str, Kind] = {
    "before": "before",
    "on_started": "started",
    "after": "after",
    "on_completed": "completed",
    "on_failed": "failed",
    "on_retried": "retried",
}
"""What a hook may have, and the kind of event that it is called with."""

Calls = dict[Kind, Callable[["JobEvent"], Any]]


@dataclass(slots=True, frozen=True)
class JobEvent:
    """What a hook is told of a job. Times are aware, UTC.

    `before` and `after` stand around each run; `retried`: an attempt failed, and the job comes back after `delay_ms`; `completed` and
    `failed` are a job's end.
    """

    kind: Kind
    id: str
    queue: str
    name: str
    attempt: int
    """Of the run it is about, from 1; 0 where a job failed without one."""
    data: Any
    metadata: Any
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    """When the run, or the job, ended."""
    flow_id: str | None
    flow_name: str | None
    host: str
    result: Any = None
    error: dict[str, Any] | None = None
    """`{type, message, stack, origin, …}`."""
    outcome: str | None = None
    """Of `after`: how the run ended: returned, raised, timed_out, died, bystander, cancelled or unstarted."""
    delay_ms: int = 0

    @property
    def seconds(self) -> float | None:
        """How long the run took, from its claim to its end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(slots=True)
class Hook:
    """A hook as it was given. `make`: gives its methods and what closes it; a class is made an object of, on the hook's own thread."""

    name: str
    kinds: frozenset[Kind]
    make: Callable[[], tuple[Calls, Callable[[], object]]]


def hook_of(target: Any, name: str | None = None) -> Hook:
    """A hook of an object or a class with any of the METHODS. Raises ConfigurationError if it has none, or one that is misspelt."""
    name = name or getattr(target, "__qualname__", None) or type(target).__name__
    for member in dir(target):
        if member.startswith("on_") and member not in METHODS and callable(getattr(target, member, None)):
            raise ConfigurationError(f"hook {name}: no hook is called by {member!r} ({nearest(member, list(METHODS))})")
    kinds = frozenset(kind for method, kind in METHODS.items() if callable(getattr(target, method, None)))
    if not kinds:
        raise ConfigurationError(f"hook {name} has none of the methods {', '.join(METHODS)}")
    return Hook(name, kinds, lambda: _calls_of(target() if isinstance(target, type) else target))


def function_hook(kind: Kind, function: Callable[[JobEvent], Any]) -> Hook:
    """A hook of one function. Raises ConfigurationError if it can't be called."""
    if not callable(function):
        raise ConfigurationError(f"a hook is a function of one argument, the job; not {type(function).__name__}")
    name = getattr(function, "__qualname__", None) or repr(function)
    return Hook(name, frozenset([kind]), lambda: ({kind: function}, _nothing))


def _calls_of(target: Any) -> tuple[Calls, Callable[[], object]]:
    calls: Calls = {}
    for method, kind in METHODS.items():
        if callable(getattr(target, method, None)):
            calls[kind] = getattr(target, method)
    return calls, getattr(target, "close", _nothing)


def _nothing() -> None:
    """The end of a hook that has no `close`."""


def configured_hooks(config: Config) -> list[Hook]:
    """Import the hooks that the file names; the project's folder is importable. Raises InvalidConfigurationError with all that is wrong."""
    if config.hooks and str(config.base_dir) not in sys.path:
        sys.path.append(str(config.base_dir))  # last: no file of the project can stand in for a module of the host
    found: list[Hook] = []
    wrong: list[Problem] = []
    for index, path in enumerate(config.hooks):
        try:
            found.append(hook_of(_imported(path), path))
        except ConfigurationError as error:
            wrong.append(Problem(("hooks", index), str(error)))
    if wrong:
        raise InvalidConfigurationError([_placed(problem, config) for problem in wrong])
    return found


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # code of the user's own
        raise ConfigurationError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{path}: {module} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _placed(problem: Problem, config: Config) -> Problem:
    if config.source is None:
        return problem
    from .config.find import read_source

    source = read_source(config.source, Path.cwd())
    return problem.at(source.shown, source.line(problem.path))
