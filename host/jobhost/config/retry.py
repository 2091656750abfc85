"""How a failed job is tried again: `backoff`, as a layer that may leave things unset and as the settled value, and `retry`, which says
it otherwise for some errors."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from . import units
from .problems import InvalidConfigurationError
from .schema import NamedTables, Table, TableOf, key, table

_DOUBLINGS = 40
"""More make no difference: one millisecond is over the longest delay by then."""


BUILT_IN = ("fixed", "exponential")
"""Strategies; others are given to the host by code and only named here."""


@dataclass(slots=True, frozen=True)
class Backoff:
    """Settled backoff. `delay` in milliseconds, `jitter` from 0 (none) to 1 (anything between nothing and the delay)."""

    type: str = "exponential"
    delay: int = 1_000
    jitter: float = 0.5

    def wait_ms(self, attempts_made: int, random: Callable[[], float]) -> int:
        """Milliseconds before the next attempt after `attempts_made` (from 1) failed ones, as BullMQ counts them.

        `random` gives a number in [0, 1); it takes away up to `jitter` of the delay.
        """
        doublings = min(max(attempts_made - 1, 0), _DOUBLINGS) if self.type == "exponential" else 0
        full = min(self.delay << doublings, units.LONGEST_MS)
        return round(full * (1 - self.jitter * random()))

    def over(self, type: str | None, delay: int | None, jitter: float | None) -> Backoff:
        """This one with what is given put over it; None leaves what is here."""
        return Backoff(
            self.type if type is None else type,
            self.delay if delay is None else delay,
            self.jitter if jitter is None else jitter,
        )


def _strategy(value: object) -> str:
    """Any name may be a strategy that code gives the host; one that is nearly a built-in one is a slip of the pen."""
    name = units.name(value)
    near = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0.7)
    if near and name not in BUILT_IN:
        raise ValueError(f"{name!r} is not a strategy (nearest known: {near[0]})")
    return name


@table
class BackoffTable(Table):
    """`backoff = { type, delay, jitter }`. What is unset comes from the layer below."""

    type: str | None = key(_strategy, default=None)
    delay: int | None = key(units.delay, default=None)
    jitter: float | None = key(units.share, default=None)


def _from_duration(written: object) -> object:
    """A duration alone is a fixed delay, as a number alone is in BullMQ."""
    return {"type": "fixed", "delay": written} if isinstance(written, str) or _is_number(written) else written


BACKOFF = TableOf(BackoffTable, _from_duration)


@table
class RetryRule(BackoffTable):
    """What holds instead for one kind of error: `attempts` at most, and its own backoff. What is unset is as for every other error."""

    attempts: int | None = key(units.count, default=None)

    def over(self, attempts: int, backoff: Backoff) -> tuple[int, Backoff]:
        """Put this rule over what holds for other errors."""
        return self.attempts or attempts, backoff.over(self.type, self.delay, self.jitter)


def _rule(written: object) -> object:
    """`"never"` is one attempt; a duration is a fixed delay."""
    return {"attempts": 1} if written == "never" else _from_duration(written)


RULES = NamedTables(TableOf(RetryRule, _rule))
"""`retry = { "ConnectionError" = "5s", "ValueError" = "never" }`: rules by the name of an error's class."""
OTHERS = "*"
"""The name of the rule for all errors that have none."""


def rule_for(rules: Mapping[str, RetryRule], kinds: Sequence[str]) -> RetryRule | None:
    """The rule of the first of `kinds` that has one: an error's own class, then those it derives from."""
    for kind in (*kinds, OTHERS):
        if (rule := rules.get(kind)) is not None:
            return rule
    return None


def backoff_json(option: object) -> bytes:
    """The JSON a job carries, from a producer's `backoff` ("5s" or a table). Raises ValueError if it is wrong."""
    try:
        layer = BackoffTable.model_validate(_from_duration(option))
    except InvalidConfigurationError as error:
        raise ValueError(f"backoff: {error}") from error
    return json.dumps({name: value for name, value in layer.model_dump().items() if value is not None}).encode()


def own_backoff(below: Backoff, stored: bytes) -> Backoff:
    """Put a job's own backoff (`{"type", "delay" (ms), "jitter"}` or a number of ms, as BullMQ stores it) over `below`.

    Jobs come from other producers too: what is not understood is left out rather than failing the job's retry.
    """
    try:
        raw: Any = json.loads(stored)
    except ValueError:
        return below
    if _is_number(raw):
        raw = {"type": "fixed", "delay": raw}
    if not isinstance(raw, dict):
        return below
    kind, delay, jitter = raw.get("type"), raw.get("delay"), raw.get("jitter")
    return below.over(
        kind if isinstance(kind, str) else None,
        round(delay) if _is_number(delay) and delay >= 0 else None,
        jitter if _is_number(jitter) and 0 <= jitter <= 1 else None,
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
