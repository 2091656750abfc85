"""`[breakers.NAME]`, and `breaker = {…}` of a handler: when to stop running what fails anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import units
from .problems import KeyPath, Problem
from .schema import WRONG, ListOf, Table, key, table

if TYPE_CHECKING:
    from .document import Config


@table
class Breaker(Table):
    """Opens once `failures` runs of one host failed one after the other, or so many of all hosts, and the `share` of all runs, in a window
    of `within` ms; stays open for `open_for` ms."""

    failures: int = key(units.count, default=5)
    share: float = key(units.share, default=0.5)
    within: int = key(units.span, default=60_000)
    open_for: int = key(units.span, default=30_000)
    errors: list[str] | None = key(ListOf(units.name), default=None)
    """Classes of errors that count; None: all but refused data."""


class BreakerOption:
    """A handler's `breaker`: the name of one that it shares with others, or one of its own."""

    @staticmethod
    def settle(written: Any, at: KeyPath, problems: list[Problem]) -> Any:
        if not isinstance(written, str):
            return Breaker.settle(written, at, problems)
        if not written.strip():
            problems.append(Problem(at, "must not be empty"))
            return WRONG
        return written


def breaker_of(handler: str, option: str | Breaker, config: Config) -> tuple[str, Breaker] | None:
    """The name of a handler's breaker and its rules; None if `[breakers.NAME]` is missing."""
    if not isinstance(option, str):
        return handler, option
    rules = config.breakers.get(option)
    return None if rules is None else (option, rules)
