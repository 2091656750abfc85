"""`[[routes]]`: which queue a job goes to, by its name, by what it carries, by how busy queues are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..queues.limits import paths_of
from . import units
from .schema import ListOf, Table, key, table

_PLACE = re.compile(r"\{([^{}]*)\}")
Scalar = str | int | float | bool


def _target(value: object) -> str | list[str]:
    names = [units.name(each) for each in value] if isinstance(value, list) and value else [units.name(value)]
    for name in names:
        for path in _PLACE.findall(name):
            paths_of(path)
    return names if isinstance(value, list) else names[0]


def _condition(value: object) -> Any:
    if isinstance(value, dict):
        wrong = sorted(set(value) - {"above", "below"})
        numbers = [each for each in value.values() if not isinstance(each, (int, float)) or isinstance(each, bool)]
        if wrong or numbers or not value:
            raise ValueError(f"should be {{ above = N }}, {{ below = N }} or both, not {units.shown(value)}")
        return value
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, (str, int, float, bool)) for each in values):
        raise ValueError(
            f"should be a text, a number, true or false, a list of such, or {{ above, below }}, not {units.shown(value)}"
        )
    return values


def _when(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f'should be a table such as {{ "data.size" = "large" }}, not {units.shown(value)}')
    settled = {}
    for path, condition in value.items():
        paths_of(path)
        try:
            settled[path] = _condition(condition)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return settled


@table
class Route(Table):
    """The first that fits a job says its queue. `to`: a queue, a pattern with paths in braces, or a list: the least busy of them."""

    name: list[str] = key(ListOf(units.name), factory=lambda: ["*"])
    when: dict[str, Any] = key(_when, factory=dict)
    to: str | list[str] = key(_target)

    @classmethod
    def between(cls, written: Mapping[str, Any]) -> Iterator[str]:
        """A route for everything would hide what handlers say of their queues."""
        if not written.get("when") and not written.get("name"):
            yield "needs a name, a when, or both: [defaults] is for everything"
