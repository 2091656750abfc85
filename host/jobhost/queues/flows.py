"""Flows as the backends know them: what a run emits, who subscribes, what a flow is, what happened in it.

Identities are derived, so that whatever is done twice comes to the same: an emit's from (queue, job identity, trigger, key or
ordinal), a job's from its emit and its handler, a join's from its flow, handler and key. All are SHA-1 in hex, which every
backend, Redis's own Lua too, can work out. Nothing here is a secret.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Literal, NamedTuple

import msgspec

from .job import Job, Json, Lease, NewJob, PublishedHandler

FlowStatus = Literal["running", "completed", "failed", "cancelled"]
FLOW_STATUSES: tuple[FlowStatus, ...] = ("running", "completed", "failed", "cancelled")

STARTS = "start:"
"""Handlers of a flow that subscribe to nothing are kept as subscribers of this and the flow's name: they are its first steps."""
STEP = "step:"
"""What the end of a step emits by itself: `step:NAME` with its result, `step:NAME:failed` with `{error, data, job_id}`."""
SUBFLOW = "flow:"
"""What the end of a sub-flow emits into its parent: `flow:NAME` or `flow:NAME:failed`, with `{flow_id, status}`."""
EVENTS_KEPT = 100_000
"""Events of one flow, the newest."""
DATA_SHOWN = 64 * 1024
"""Bytes of a result or payload that an event repeats; of longer ones it tells the size."""


@dataclass(slots=True, frozen=True)
class Emit:
    """One emit of a run. `key`, or where there is none `ordinal` (0, 1, … among those of its trigger), tells it from the others.

    `implied`: an edge that nobody needs to wait for (`step:NAME`). `starts`: `trigger` is the name of a flow to start under this one.
    """

    trigger: str
    payload: Json
    key: str | None = None
    ordinal: int = 0
    implied: bool = False
    starts: bool = False

    def id(self, queue: str, job: str, created_at: int) -> str:
        """Its identity: the same for every attempt of the job."""
        told = f"k{self.key}" if self.key is not None else f"n{self.ordinal}"
        kind = "s" if self.starts else "i" if self.implied else "e"
        return _hash(queue, job, str(created_at), kind, self.trigger, told)


@dataclass(slots=True, frozen=True)
class InFlow:
    """A job's place in a flow. `counts`: its failure is the flow's too."""

    id: str
    name: str | None
    step: str
    counts: bool = True


class Subscriber(NamedTuple):
    """A handler that gets a job for a trigger. `joins`: all triggers it waits for; empty where each gets a job of its own."""

    handler: str
    queue: str
    joins: tuple[str, ...] = ()


class Subscription(NamedTuple):
    """One line of the published subscriptions."""

    trigger: str
    subscriber: Subscriber


@dataclass(slots=True, frozen=True)
class NewFlow:
    """A flow to start. `first`: its first steps; None: the published handlers of its name that subscribe to nothing."""

    id: str
    name: str
    data: Json = b"null"
    parent: str | None = None
    first: tuple[Subscriber, ...] | None = None


@dataclass(slots=True)
class FlowInfo:
    """A flow. `events`: the number of the last one. `error`: of the first step that failed, or why it was cancelled."""

    id: str
    name: str | None
    status: FlowStatus
    started_at: int
    finished_at: int | None = None
    parent: str | None = None
    events: int = 0
    data: Json | None = None
    error: Json | None = None


@dataclass(slots=True, frozen=True)
class FlowEvent:
    """Something that happened in a flow. `n`: 1, 2, … in this flow. `data`: a JSON object or None."""

    flow_id: str
    flow_name: str | None
    n: int
    ts: int
    type: str
    step: str | None = None
    attempt: int = 0
    queue: str | None = None
    job_id: str | None = None
    data: Json | None = None


@dataclass(slots=True, frozen=True)
class Happening:
    """What a host tells of a run in a flow that no settlement tells: `step.started`, `step.progress`."""

    lease: Lease
    place: InFlow
    type: str
    attempt: int
    data: Json | None = None


def new_flow_id() -> str:
    """A new one; they sort by the time they were made."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(5)}"


def own_flow_id(queue: str, id: str, created_at: int) -> str:
    """The flow that a job outside of any begins with its first emit."""
    return f"job-{queue}:{id}:{created_at}"


def is_own_flow(job: Job) -> bool:
    """Whether a job's flow is the one that it began itself."""
    own = own_flow_id(job.queue, job.id, job.created_at)
    return job.flow_id is not None and job.flow_id.startswith("job-") and job.flow_id == own


def derived_job(emit_id: str, handler: str) -> str:
    """The id of the job that a subscriber gets for an emit."""
    return _hash(emit_id, handler)


def joined_job(flow_id: str, handler: str, key: str) -> str:
    """The id of the job that a join gets once all its triggers are there: once per flow, step and key."""
    return _hash(flow_id, handler, key)


def started_flow(emit_id: str) -> str:
    """The id of the flow that a run starts."""
    return _hash(emit_id, "flow")


def _hash(*parts: str) -> str:
    return sha1("\0".join(parts).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def joined_data(triggers: Sequence[str], payloads: dict[str, Json]) -> Json:
    """The data of a join's job: an object of payloads by trigger, put together as the texts they are."""
    return b"{" + b",".join(json.dumps(each).encode() + b":" + payloads[each] for each in triggers) + b"}"


def shown(name: str, value: Json | None) -> Json:
    """An event's data about a value: the value itself, or its size if it is long."""
    if value is None:
        value = b"null"
    if len(value) > DATA_SHOWN:
        return b'{"%b_bytes":%d}' % (name.encode(), len(value))
    return b'{"%b":%b}' % (name.encode(), value)


def step_failed_payload(error: Json | None, data: Json, job_id: str) -> Json:
    """What `step:NAME:failed` carries: what is needed to make good what the step had begun."""
    return b'{"error":%b,"data":%b,"job_id":%b}' % (error or b"null", data, json.dumps(job_id).encode())


class _Membership(msgspec.Struct):
    flowId: str | None = None  # noqa: N815 - the field's name in a job's data
    flowName: str | None = None  # noqa: N815


_MEMBERSHIP = msgspec.json.Decoder(_Membership)


def flow_in_data(data: Json) -> tuple[str | None, str | None]:
    """The flow that a job's data names by `flowId` and `flowName`; nothing is built of the rest of it."""
    if b'"flowId"' not in data or data.lstrip()[:1] != b"{":
        return None, None
    try:
        found = _MEMBERSHIP.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None, None
    return found.flowId or None, found.flowName or None


def flow_of_new(new: NewJob) -> tuple[str | None, str | None]:
    """The id and the name of the flow that a new job belongs to."""
    if new.flow_id is None:
        return flow_in_data(new.data)
    return (new.flow_id, new.flow_name) if new.flow_id else (None, None)


def flow_of(job: Job) -> InFlow | None:
    """A job's flow as the job itself tells it: for ends that no host writes."""
    return InFlow(job.flow_id, job.flow_name, job.name) if job.flow_id else None


def subscriptions_of(handler: PublishedHandler) -> list[Subscription]:
    """What a handler waits for, as its published listing says."""
    flow = flow_settings(handler.info)
    subscribes = [each for each in flow.get("subscribes") or () if isinstance(each, str)]
    if not subscribes:
        name = flow.get("name")
        return [Subscription(f"{STARTS}{name}", Subscriber(handler.name, handler.queue))] if name else []
    joins = tuple(dict.fromkeys(subscribes)) if flow.get("join") == "all" and len(set(subscribes)) > 1 else ()
    return [Subscription(each, Subscriber(handler.name, handler.queue, joins)) for each in dict.fromkeys(subscribes)]


def starts_of(info: Json) -> str | None:
    """The flow that a published handler begins, if it does."""
    flow = flow_settings(info)
    return None if flow.get("subscribes") else flow.get("name")


def reserved(trigger: str) -> bool:
    """Whether a trigger is one that jobhost emits itself."""
    return trigger.startswith((STEP, SUBFLOW, STARTS))


def flow_settings(info: Json) -> dict[str, Any]:
    """The `flow` of a published listing."""
    try:
        flow = json.loads(info).get("flow")
    except (ValueError, AttributeError):
        return {}
    return flow if isinstance(flow, dict) else {}
