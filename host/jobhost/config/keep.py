"""How many finished jobs stay: a count, `{ count, age = "7d" }` or "all", as a layer that may leave things unset."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from jobhost.queues.job import Keep

from .units import Section, delay

_ALL = -1
"""Stands for no limit where None stands for unset."""


def _count(value: object) -> int:
    if value == "all":
        return _ALL
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f'{value!r} is not a count: write 0 or more, or "all"')
    return value


def _age(value: object) -> int:
    return _ALL if value == "all" else delay(value)


class KeepTable(Section):
    """`{ count, age }`. What is unset comes from the layer below."""

    count: Annotated[int, PlainValidator(_count)] | None = None
    age: Annotated[int, PlainValidator(_age)] | None = None

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
    return value if isinstance(value, (dict, KeepTable)) else {"count": value}


KeepOption = Annotated[KeepTable, BeforeValidator(_table)]
