"""`[queues.NAME]` and `[defaults]`, and what holds for a queue once every layer is settled."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from jobhost.queues.job import Keep

from . import units
from .keep import KEEP, KeepTable
from .retry import BACKOFF, Backoff, BackoffTable
from .schema import Table, key, table

if TYPE_CHECKING:
    from .document import Config

UnknownJobs = Literal["fail", "release"]

HOUR_MS = 3_600_000
FIRST_BACKOFF = Backoff()
KEEP_COMPLETED = Keep(1_000)
KEEP_FAILED = Keep(5_000)


@table
class RateLimit(Table):
    """At most `max` starts in `every` milliseconds."""

    max: int = key(units.count)
    every: int = key(units.span)


def _handlers(value: object) -> str | list[str]:
    if value == "*":
        return "*"
    if isinstance(value, list) and all(isinstance(name, str) and name for name in value):
        return value
    raise ValueError(f'{units.shown(value)} is neither "*" nor a list of handler names')


@table
class Queue(Table):
    """One layer of a queue's settings; None is unset. Times in milliseconds, sizes in bytes."""

    concurrency: int | None = key(units.count, default=None)
    global_concurrency: int | None = key(units.count, default=None)
    handlers: str | list[str] | None = key(_handlers, default=None)
    attempts: int | None = key(units.count, default=None)
    backoff: BackoffTable | None = key(BACKOFF, default=None)
    rate_limit: RateLimit | None = key(RateLimit, default=None)
    lease: int | None = key(units.span, default=None)
    stalled_interval: int | None = key(units.span, default=None)
    max_stalled: int | None = key(units.whole(0), default=None)
    keep_completed: KeepTable | None = key(KEEP, default=None)
    keep_failed: KeepTable | None = key(KEEP, default=None)
    dead_letter: str | None = key(units.name, default=None)
    paused: bool | None = key(units.flag, default=None)
    unknown_jobs: UnknownJobs | None = key(units.one_of("fail", "release"), default=None)
    timeout: int | None = key(units.timeout, default=None)
    drain_delay: int | None = key(units.delay, default=None)
    prefix: str | None = key(units.name, default=None)
    max_payload: int | None = key(units.size, default=None)
    max_age: int | None = key(units.span, default=None)
    max_child_deaths: int | None = key(units.whole(0), default=None)
    exclusive: bool | None = key(units.flag, default=None)


QUEUE_KEYS = tuple(field.name for field in fields(Queue))


@dataclass(slots=True, frozen=True)
class QueueSettings:
    """Everything settled for one queue: built-in < `[defaults]` < `[queues.NAME]`. Times in ms, sizes in bytes."""

    name: str
    concurrency: int = 10
    global_concurrency: int | None = None
    """On all hosts together."""
    handlers: str | list[str] = "*"
    attempts: int = 3
    backoff: Backoff = FIRST_BACKOFF
    rate_limit: RateLimit | None = None
    lease: int = 30_000
    stalled_interval: int = 30_000
    max_stalled: int = 1
    keep_completed: Keep = KEEP_COMPLETED
    keep_failed: Keep = KEEP_FAILED
    dead_letter: str | None = None
    paused: bool = False
    unknown_jobs: UnknownJobs = "fail"
    timeout: int = HOUR_MS
    """0: none."""
    drain_delay: int = 5_000
    prefix: str = "bull"
    max_payload: int = 1024 * 1024
    max_age: int | None = None
    max_child_deaths: int = 3
    exclusive: bool = False

    def serves(self, handler: str) -> bool:
        """Whether the queue's `handlers` lets a handler of this name serve it."""
        return self.handlers == "*" or handler in self.handlers


def queue_settings(config: Config, name: str) -> QueueSettings:
    """What holds for the queue `name`, named in the configuration or not."""
    settled = _built_in(config.queue_url)
    settled["prefix"] = config.prefix
    for layer in (config.defaults, _layer(config, name)):
        if layer is not None:
            _put_over(settled, layer)
    if settled.get("dead_letter") == name:
        del settled["dead_letter"]  # a queue of dead letters, where every queue has the same one: no copies of copies
    return QueueSettings(name, **settled)


def _layer(config: Config, name: str) -> Queue | None:
    """The table of a queue: its own, else that of the first pattern that names it."""
    if name in config.queues:
        return config.queues[name]
    return next((layer for pattern, layer in config.queues.items() if fnmatch.fnmatchcase(name, pattern)), None)


def dead_letter_queues(config: Config) -> set[str]:
    """The queues that dead letters go to."""
    layers = (config.defaults, *config.queues.values())
    return {layer.dead_letter for layer in layers if layer.dead_letter is not None}


def _built_in(queue_url: str) -> dict[str, Any]:
    """On Redis what BullMQ does, so that a queue shared with its workers keeps its meaning."""
    settled: dict[str, Any] = {"backoff": FIRST_BACKOFF, "keep_completed": KEEP_COMPLETED, "keep_failed": KEEP_FAILED}
    if queue_url.startswith(("redis://", "rediss://")):
        settled.update(attempts=1, keep_completed=Keep(), keep_failed=Keep(), unknown_jobs="release")
        settled["backoff"] = Backoff(jitter=0.0)  # a producer's backoff that says nothing of jitter has none
    return settled


def _put_over(settled: dict[str, Any], layer: Queue) -> None:
    """Put one layer over those below it; tables are merged member by member, so that none loses a default."""
    for name in QUEUE_KEYS:
        value = getattr(layer, name)
        if value is None:
            continue
        if name == "backoff":
            value = settled[name].over(value.type, value.delay, value.jitter)
        elif name in ("keep_completed", "keep_failed"):
            value = value.over(settled[name])
        settled[name] = value
