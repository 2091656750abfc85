"""How many finished jobs stay: a count, `{ count, age = "7d" }` or "all", as a layer that may leave things unset."""

from __future__ import annotations

from typing import Any

from jobhost.queues.job import Keep

from .schema import Table, TableOf, key, table
from .units import delay, shown

_ALL = -1
"""Stands for no limit where None stands for unset."""


def _count(value: object) -> int:
    if value == "all":
        return _ALL
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f'{shown(value)} is not a count: write 0 or more, or "all"')
    return value


def _age(value: object) -> int:
    return _ALL if value == "all" else delay(value)


@table
class KeepTable(Table):
    """`{ count, age }`. What is unset comes from the layer below."""

    count: int | None = key(_count, default=None)
    age: int | None = key(_age, default=None)

    def over(self, below: Keep) -> Keep:
        """Settle this layer over the one below."""
        return Keep(_settled(self.count, below.count), _settled(self.age, below.age_ms))


def _settled(value: int | None, below: int | None) -> int | None:
    if value is None:
        return below
    return None if value == _ALL else value


def _table(value: object) -> Any:
    if value == "all":
        return {"count": "all", "age": "all"}
    return value if isinstance(value, dict) else {"count": value}


KEEP = TableOf(KeepTable, _table)
