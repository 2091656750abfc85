"""A job as the queues know it, and what can be asked of one.

Values of users (`data`, `result`, `progress`, …) are JSON text in UTF-8, as bytes, never decoded here. Times are Unix
milliseconds. States are BullMQ's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from .flows import Emit, InFlow

Json = bytes
State = Literal["waiting", "prioritized", "delayed", "active", "completed", "failed", "waiting-children"]
STATES: tuple[State, ...] = (
    "waiting",
    "prioritized",
    "delayed",
    "active",
    "completed",
    "failed",
    "waiting-children",
)


@dataclass(slots=True)
class NewJob:
    """What a producer asks for. An option that is None is decided by the host that runs the job (handler, queue, defaults)."""

    name: str
    data: Json = b"null"
    queue: str = "default"
    id: str | None = None
    """None: the backend gives the next number of the queue. A second add of an id that exists is the same job."""
    delay_ms: int = 0
    priority: int = 0
    """0 runs first, then 1, 2, … up to 2,097,152, as in BullMQ."""
    lifo: bool = False
    """In front of the waiting jobs of its priority instead of behind them."""
    attempts: int | None = None
    backoff: Json | None = None
    """`{"type", "delay" (ms), "jitter"}` as JSON."""
    timeout_ms: int | None = None
    """0 means none."""
    metadata: Json | None = None
    """A JSON object of the producer's own."""
    flow_id: str | None = None
    """None: the flow that `flowId` in the data names, if it does; empty: none."""
    flow_name: str | None = None
    created_at: int | None = None
    """Unix ms of the job that this one goes on from; None: now."""


@dataclass(slots=True)
class Job:
    """A stored job. Backends fill every field; `attempts_made` counts attempts that were used up."""

    id: str
    queue: str
    name: str
    data: Json
    state: State
    priority: int
    created_at: int
    attempts_made: int = 0
    max_attempts: int | None = None
    """The job's own option; None: the handler's or queue's. Written by the first host that claims it."""
    backoff: Json | None = None
    timeout_ms: int | None = None
    metadata: Json | None = None
    progress: Json | None = None
    result: Json | None = None
    error: Json | None = None
    """The last error: `{type, message, stack, origin, fields, cause, data}`. Cleared when the job completes."""
    delay_until: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    flow_id: str | None = None
    flow_name: str | None = None
    host: str | None = None
    """The host that runs it, or ran it last."""
    receipt: Json | None = None
    stalled: int = 0
    """How often its lease ran out."""
    child_deaths: int = 0
    """How often a child died with it inside, by its doing or maybe by another's; above zero it runs alone (`suspect`)."""
    postponed: int = 0
    """How often its handler asked to come back later (`RetryLater`)."""
    released: int = 0
    """How often a host that lacks its handler handed it back."""
    cancel_requested: bool = False
    traceparent: str | None = None
    """The W3C trace context of its producer, where the store keeps one."""

    @property
    def suspect(self) -> bool:
        return self.child_deaths > 0


def job_scope(queue: str, id: str, created_at: int) -> str:
    """Give the scope of a job's own state. With the time it was added, since an id may be used again once its job is gone;
    other scopes are `flow:<id>`, `handler:<bundle>:<name>` and `global`."""
    return f"job:{queue}:{id}:{created_at}"


class Rate(NamedTuple):
    """At most `max` jobs of a queue begin in `every_ms`, on all hosts together; the time runs from the first of them."""

    max: int
    every_ms: int


@dataclass(slots=True)
class Claim:
    """A job and the token that fences what its holder may do with it. `failure`: the store knows that it has failed for good, with this
    error: it is to be settled so, and not to be run."""

    job: Job
    token: str
    failure: Json | None = None


class Lease(NamedTuple):
    """Names a claim: every write of its holder carries it, and is refused once somebody else has the job."""

    queue: str
    id: str
    token: str


@dataclass(slots=True, frozen=True)
class Keep:
    """How many finished jobs stay, and how long. None: no limit."""

    count: int | None = None
    age_ms: int | None = None


@dataclass(slots=True)
class Settlement:
    """How one claim ends. The backend applies it in one step if the lease still holds, and not at all otherwise.

    `to`: `completed` (needs `result`), `failed` (needs `error`), `delayed` (comes back after `delay_ms`) or `waiting`
    (comes back at once: to its old place before younger jobs, as its order among the waiting is kept).
    """

    lease: Lease
    to: Literal["completed", "failed", "delayed", "waiting"]
    result: Json | None = None
    error: Json | None = None
    """Written when given. A completed job has no error, whatever earlier attempts wrote."""
    delay_ms: int = 0
    attempt_used: bool = True
    child_death: bool = False
    """Count one more child death."""
    postponed: bool = False
    released: bool = False
    keep: Keep = field(default_factory=Keep)
    """For `completed` and `failed`: prune the finished jobs of this state in this queue to this."""
    dead_letter: str | None = None
    """For `failed`: add a copy to this queue in the same step (a new waiting job of the same name and data, with
    metadata as `dead_letters.py` makes it)."""
    receipt: Json | None = None
    flow: InFlow | None = None
    """Of a job in a flow, or one that begins a flow by its first emit."""
    emits: Sequence[Emit] = ()
    """For `completed` and `failed`: delivered in the same step, each once however often the job comes back."""
    unmatched: list[str] = field(default_factory=list)
    """Filled in by the backend: triggers of `emits` that nobody subscribes to."""


@dataclass(slots=True, frozen=True)
class LogLine:
    """One line kept with a job."""

    ts: int
    level: str
    message: str
    fields: Json | None
    attempt: int
    source: str
    """handler, stdout, stderr, logging or host."""


@dataclass(slots=True, frozen=True)
class QueueInfo:
    """A queue as listings show it. `counts` has a number for each state."""

    name: str
    paused: bool
    counts: dict[str, int]


@dataclass(slots=True, frozen=True)
class Event:
    """Something that happened: `waiting`, `active`, `completed`, `failed`, `progress`, `stalled`, `removed`, `drained`,
    `delayed`, `paused`, `resumed`, `cancel` (a cancel was requested for an active job), `flow` (something happened in the flow
    whose id is `job_id`; its queue is empty), `flow_failed` (that flow has failed; at least the process is told whose commit that was).

    `attempt`: the attempt it is about, from 1; 0 for what is about no attempt.
    `data`: JSON text: the result of `completed`, `{"error": …}` of `failed` and a retried `delayed`, the value of `progress`.
    """

    type: str
    queue: str
    job_id: str | None
    name: str | None
    ts: int
    attempt: int = 0
    data: Json | None = None


@dataclass(slots=True, frozen=True)
class HostInfo:
    """A host as `jobhost hosts` lists it. `info`: JSON: queues, runs, version, pid."""

    id: str
    started_at: int
    heartbeat_at: int
    info: Json


@dataclass(slots=True, frozen=True)
class PublishedHandler:
    """A handler some host serves: tells producers which queue to use. `info` is its listing as JSON."""

    name: str
    queue: str
    info: Json
