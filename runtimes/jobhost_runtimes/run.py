"""A run: one attempt of one job, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .receipts import Account

Json = bytes


class Ending(Enum):
    """How a run ended. What becomes of the job is the host's to decide."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    DIED = "died"
    """Its child died, and this run was alone in it or is known to be the cause."""
    BYSTANDER = "bystander"
    """Its child died through no fault that is known to be this run's."""
    CANCELLED = "cancelled"
    """Cancelled by the user, by the loss of its lease, or because the host stops: see `reason`."""
    UNSTARTED = "unstarted"
    """The handler never began."""


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    `error`: `{type, message, stack, origin, fields?, cause?, data?}`, ready to be stored. `retry`: None (by the job's policy), False
    (never) or the milliseconds after which the job wants to come back. `suspect`: nobody knows which run killed the child.
    """

    ending: Ending
    result: Json | None = None
    error: dict[str, Any] | None = None
    retry: int | bool | None = None
    uses_attempt: bool = False
    """A `retry` in ms counts as an attempt."""
    kinds: Sequence[str] = ()
    """The classes that the error's own derives from, as far as its language tells them."""
    reason: str = ""
    suspect: bool = False
    receipt: Json | None = None
    """What it cost, where it ran in a child."""


class Tokens:
    """Unguessable names of runs, 64 random bits each, cut from larger draws: a system call a run would be the dearest part of it."""

    _BYTES = 8
    _DRAW = 512

    def __init__(self) -> None:
        self._stock: list[str] = []

    def next(self) -> str:
        if not self._stock:
            text = os.urandom(self._BYTES * self._DRAW).hex()
            width = self._BYTES * 2
            self._stock = [text[i : i + width] for i in range(0, len(text), width)]
        return self._stock.pop()


class Run:
    """One attempt of one job, on its way through a runtime.

    `job` and `context` are the maps of the wire's `execute`; `on_end` is called once, on the host's loop, when the run is over
    and its place is free. `timeout_ms` counts from the start of the handler; 0 means none. `alone` asks for a child without
    other runs. `tag` is the host's own and never looked at here.
    """

    __slots__ = (
        "account",
        "alone",
        "context",
        "ended",
        "handler",
        "job",
        "on_end",
        "recalled",
        "started",
        "tag",
        "timeout_ms",
        "token",
        "verdict",
    )

    def __init__(
        self,
        token: str,
        handler: str,
        job: dict[str, Any],
        context: dict[str, Any],
        on_end: Callable[[Run, Outcome], None],
        timeout_ms: int = 0,
        alone: bool = False,
        tag: Any = None,
    ) -> None:
        self.token = token
        self.handler = handler
        self.job = job
        self.context = context
        self.on_end = on_end
        self.timeout_ms = timeout_ms
        self.alone = alone
        self.tag = tag
        self.account: Account | None = None
        self.started = False
        """As the host sees it: the run before it has been answered."""
        self.recalled = False
        """It was asked for back: its child may hand it back even after it has become the next one here."""
        self.ended = False
        self.verdict: Outcome | None = None
        """Set when the host has decided before the handler answered; the answer then only frees the place."""

    @property
    def label(self) -> str:
        """For logs: the job's name and id."""
        return f"{self.job['name']} {self.job['id']}"

    def end(self, outcome: Outcome) -> None:
        """Finish with the verdict, if there is one, else with `outcome`. The second call does nothing.

        A handler that returned while the host was stopping did its work: that result stands.
        """
        if self.ended:
            return
        self.ended = True
        verdict = self.verdict
        if verdict is not None and not (verdict.reason == "shutdown" and outcome.ending is Ending.RETURNED):
            verdict.receipt = outcome.receipt
            outcome = verdict
        self.on_end(self, outcome)


def timeout_verdict(timeout_ms: int) -> Outcome:
    """The outcome of a run that took too long."""
    from jobhost_sdk.durations import duration_text

    message = f"the handler ran longer than its timeout of {duration_text(timeout_ms)} and was stopped"
    return Outcome(Ending.TIMED_OUT, error=host_error("TimeoutError", message), reason="timeout")


def host_error(type: str, message: str, origin: str = "host", stack: str = "") -> dict[str, Any]:
    """An error as it is stored. `origin`: `host`, `child` or `handler`, always set on this side of the wire."""
    return {"type": type, "message": message, "stack": stack, "origin": origin}
