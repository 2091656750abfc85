"""`[flows]` and `[state]`: how long what flows leave behind is kept. Times in milliseconds."""

from __future__ import annotations

from typing import Literal

from . import units
from .schema import ListOf, Table, key, table


@table
class Flows(Table):
    """`keep`: how long a flow that has ended can be looked at. `stalled_after`: a flow of which nothing is heard for so long, and whose
    jobs only wait, is told of; 0: none is. `external`: patterns of triggers that no handler here emits."""

    keep: int = key(units.span, default=7 * 86_400_000)
    stalled_after: int = key(units.timeout, default=3_600_000)
    external: list[str] = key(ListOf(units.name), factory=list)


@table
class State(Table):
    """What becomes of the state of flows that have ended. `on_complete`: it goes `grace` after the end. `ttl`: what is written without
    a time of its own, by jobs and flows, goes after `ttl`. `never`: it stays."""

    cleanup: Literal["on_complete", "ttl", "never"] = key(
        units.one_of("on_complete", "ttl", "never"), default="on_complete"
    )
    grace: int = key(units.delay, default=3_600_000)
    ttl: int = key(units.span, default=30 * 86_400_000)
