"""`[queues.NAME]` and `[defaults]`, and what holds for a queue once every layer is settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator

from jobhost.queues.job import Keep

from .keep import KeepOption
from .retry import Backoff, BackoffOption
from .units import Count, Delay, Section, Size, Span, Text, Timeout

if TYPE_CHECKING:
    from .document import Config

UnknownJobs = Literal["fail", "release"]

HOUR_MS = 3_600_000
BACKOFF = Backoff()
KEEP_COMPLETED = Keep(1_000)
KEEP_FAILED = Keep(5_000)


class RateLimit(Section):
    """At most `max` starts in `every` milliseconds."""

    max: Count
    every: Span


def _handlers(value: object) -> str | list[str]:
    if value == "*":
        return "*"
    if isinstance(value, list) and all(isinstance(name, str) and name for name in value):
        return value
    raise ValueError(f'{value!r} is neither "*" nor a list of handler names')


class Queue(Section):
    """One layer of a queue's settings; None is unset. Times in milliseconds, sizes in bytes."""

    concurrency: Count | None = None
    handlers: Annotated[str | list[str], PlainValidator(_handlers)] | None = None
    attempts: Count | None = None
    backoff: BackoffOption | None = None
    rate_limit: RateLimit | None = None
    lease: Span | None = None
    stalled_interval: Span | None = None
    max_stalled: Annotated[int, Field(ge=0)] | None = None
    keep_completed: KeepOption | None = None
    keep_failed: KeepOption | None = None
    dead_letter: Text | None = None
    paused: bool | None = None
    unknown_jobs: UnknownJobs | None = None
    timeout: Timeout | None = None
    drain_delay: Delay | None = None
    prefix: Text | None = None
    max_payload: Size | None = None
    max_age: Span | None = None
    max_child_deaths: Annotated[int, Field(ge=0)] | None = None
    exclusive: bool | None = None


@dataclass(slots=True, frozen=True)
class QueueSettings:
    """Everything settled for one queue: built-in < `[defaults]` < `[queues.NAME]`. Times in ms, sizes in bytes."""

    name: str
    concurrency: int = 10
    handlers: str | list[str] = "*"
    attempts: int = 3
    backoff: Backoff = BACKOFF
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
    for layer in (config.defaults, config.queues.get(name)):
        if layer is not None:
            _put_over(settled, layer)
    return QueueSettings(name, **settled)


def _built_in(queue_url: str) -> dict[str, Any]:
    """On Redis what BullMQ does, so that a queue shared with its workers keeps its meaning."""
    settled: dict[str, Any] = {"backoff": BACKOFF, "keep_completed": KEEP_COMPLETED, "keep_failed": KEEP_FAILED}
    if queue_url.startswith(("redis://", "rediss://")):
        settled.update(attempts=1, keep_completed=Keep(), keep_failed=Keep(), unknown_jobs="release")
    return settled


def _put_over(settled: dict[str, Any], layer: Queue) -> None:
    """Put one layer over those below it; tables are merged member by member, so that none loses a default."""
    for key in Queue.model_fields:
        value = getattr(layer, key)
        if value is None:
            continue
        if key == "backoff":
            value = settled[key].over(value.type, value.delay, value.jitter)
        elif key in ("keep_completed", "keep_failed"):
            value = value.over(settled[key])
        settled[key] = value
