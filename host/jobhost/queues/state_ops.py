"""Changes of state, many in one step: what they come to, in one place for memory and SQLite; `state.lua` says the same for Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from jobhost.errors import StateLimitError

from .job import Json, Lease
from .outcomes import incremented

MOST_KEYS = 10_000
"""Keys of one scope: whoever needs more needs a database."""

Value = tuple[Json, int | None]
"""A value and the time (Unix ms) at which it passes away."""
Result = None | bool | int


class StateOp(NamedTuple):
    """One change. `set` gives None, `delete` whether there was a value, `incr` the sum, and `cas` whether the value was `expected`
    (None: there was none) and now is `value` (None: is none). Values are compared as the JSON texts they are."""

    verb: Literal["set", "delete", "incr", "cas"]
    key: str
    value: Json | None = None
    ttl_ms: int | None = None
    by: int = 0
    expected: Json | None = None


def changed(
    ops: Sequence[StateOp], read: Callable[[str], Value | None], now: int
) -> tuple[dict[str, Value | None], list[Result]]:
    """Give what each key shall be (None: gone), and the result of each change. `read` gives a value that has not passed away.

    Raises StateTypeError; nothing is to be changed then.
    """
    there: dict[str, Value | None] = {}
    results: list[Result] = []
    for op in ops:
        before = there[op.key] if op.key in there else read(op.key)
        until = None if op.ttl_ms is None else now + op.ttl_ms
        if op.verb == "set":
            assert op.value is not None
            there[op.key] = (op.value, until)
            results.append(None)
        elif op.verb == "delete":
            there[op.key] = None
            results.append(before is not None)
        elif op.verb == "incr":
            total = incremented(before[0] if before else None, op.by)
            there[op.key] = (b"%d" % total, before[1] if before else None)
            results.append(total)
        else:
            same = (before[0] if before else None) == op.expected
            if same:
                there[op.key] = None if op.value is None else (op.value, until)
            results.append(same)
    return there, results


def too_many(scope: str) -> StateLimitError:
    """The error of a scope that is full."""
    return StateLimitError(f"the state scope {scope!r} has {MOST_KEYS:,} keys, which is the most it may have")


class SingleChanges:
    """The single changes of the seam, as batches of one."""

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        """The store's own."""
        raise NotImplementedError

    async def state_set(
        self, scope: str, key: str, value: Json, ttl_ms: int | None = None, lease: Lease | None = None
    ) -> None:
        await self.state_change(scope, [StateOp("set", key, value, ttl_ms)], lease)

    async def state_delete(self, scope: str, key: str, lease: Lease | None = None) -> bool:
        return bool((await self.state_change(scope, [StateOp("delete", key)], lease))[0])

    async def state_incr(self, scope: str, key: str, by: int = 1, lease: Lease | None = None) -> int:
        return int((await self.state_change(scope, [StateOp("incr", key, by=by)], lease))[0] or 0)
