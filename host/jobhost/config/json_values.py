"""Values of the file that are handed on as JSON: whether they can be."""

from __future__ import annotations

import math
from typing import Any

DEEPEST = 64
"""Levels of tables and arrays: what a child tells of itself is looked at too, and must not be a well without a floor."""


def json_problem(value: Any) -> str | None:
    """What keeps a value from being JSON, or None."""
    todo: list[tuple[Any, int]] = [(value, 1)]
    while todo:
        one, depth = todo.pop()
        if depth > DEEPEST:
            return f"nests over {DEEPEST} deep"
        if isinstance(one, dict):
            todo += [(member, depth + 1) for member in one.values()]
        elif isinstance(one, list):
            todo += [(member, depth + 1) for member in one]
        elif isinstance(one, float) and not math.isfinite(one):
            return f"holds {one}, which is no JSON value"
        elif one is not None and not isinstance(one, (str, bool, int, float)):
            return f"holds a {type(one).__name__}, which is no JSON value"
    return None
