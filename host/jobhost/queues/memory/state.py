"""State of jobs, flows and handlers: values under keys under scopes, some of which pass away."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ..clock import Clock
from ..job import Json
from ..state_ops import MOST_KEYS, Result, StateOp, Value, changed, too_many

PAGE = 1_000
"""Keys in one page of a listing."""


class StateStore:
    """Scopes of keys. A value that has passed away is gone for every caller, and swept now and then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scopes: dict[str, dict[str, Value]] = {}
        self._mortal: set[tuple[str, str]] = set()

    def _find(self, scope: str, key: str) -> Value | None:
        value = self._scopes.get(scope, {}).get(key)
        return value if value and self._lives(value) else None

    def _lives(self, value: Value) -> bool:
        return value[1] is None or value[1] > self._clock()

    def _put(self, scope: str, key: str, value: Value) -> None:
        self._scopes.setdefault(scope, {})[key] = value
        if value[1] is not None:
            self._mortal.add((scope, key))

    def get(self, scope: str, key: str) -> Json | None:
        found = self._find(scope, key)
        return found[0] if found else None

    def change(self, scope: str, ops: Sequence[StateOp]) -> list[Result]:
        """Make changes, all or none."""
        there, results = changed(ops, lambda key: self._find(scope, key), self._clock())
        if len(self._scopes.get(scope, ())) + len(there) > MOST_KEYS:
            self.sweep()
            keys = self._scopes.get(scope, {})
            if len(keys) + sum(value is not None and key not in keys for key, value in there.items()) > MOST_KEYS:
                raise too_many(scope)
        for key, value in there.items():
            if value is None:
                self._forget(scope, key)
            else:
                self._put(scope, key, value)
        return results

    def keys(self, scope: str, cursor: str | None) -> tuple[list[str], str | None]:
        keys = sorted(key for key, value in self._scopes.get(scope, {}).items() if self._lives(value))
        start = 0 if cursor is None else bisect_right(keys, cursor)
        page = keys[start : start + PAGE]
        return page, page[-1] if start + PAGE < len(keys) else None

    def scopes(self) -> list[str]:
        return sorted(name for name, keys in self._scopes.items() if any(map(self._lives, keys.values())))

    def drop(self, scope: str) -> None:
        """Forget all of a scope."""
        self._scopes.pop(scope, None)

    def sweep(self) -> None:
        """Give back the memory of what has passed away."""
        for scope, key in tuple(self._mortal):
            if not self._find(scope, key):
                self._forget(scope, key)

    def _forget(self, scope: str, key: str) -> None:
        self._mortal.discard((scope, key))
        keys = self._scopes.get(scope, {})
        keys.pop(key, None)
        if not keys:
            self._scopes.pop(scope, None)

    def __bool__(self) -> bool:
        return bool(self._scopes)
