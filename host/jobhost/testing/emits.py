"""What handlers emitted, as tests see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobhost_sdk.json_values import decode

from ..queues.flows import Emit
from ..queues.job import Job


@dataclass(slots=True, frozen=True)
class Emitted:
    """One emit of a run that succeeded. `to`: the handlers that subscribe to it, sorted; `key`: as the handler gave it."""

    trigger: str
    payload: Any
    key: str | None
    to: Sequence[str]
    handler: str
    queue: str = field(repr=False)
    job_id: str = field(repr=False)
    starts: bool = field(default=False, repr=False)
    """It starts a flow: `trigger` is its name."""

    @classmethod
    def of(cls, emit: Emit, job: Job, to: Sequence[str]) -> Emitted:
        payload = decode(emit.payload)
        return cls(emit.trigger, payload, emit.key, tuple(to), job.name, job.queue, job.id, emit.starts)

    def __str__(self) -> str:
        to = ", ".join(self.to) or "nobody"
        return f"{self.trigger} {self.payload!r} by {self.handler} {self.job_id}, to {to}"


ANY: Any = type("Any", (), {"__repr__": lambda _: "anything"})()
"""Stands for a value that is not looked at."""


def checked(emits: Sequence[Emitted], trigger: str, payload: Any, by: str) -> Emitted:
    """The first of `emits` that has this trigger and payload. Raises AssertionError, which lists what there was instead."""
    for emit in emits:
        if emit.trigger == trigger and (payload is ANY or emit.payload == payload):
            return emit
    wanted = trigger if payload is ANY else f"{trigger} {payload!r}"
    there = "".join(f"\n  {emit}" for emit in emits) or " nothing"
    raise AssertionError(f"{by} did not emit {wanted}; it emitted:{there}")
