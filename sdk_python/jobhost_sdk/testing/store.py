"""State in memory: what `ctx.state` asks of a host, with the same rules."""

from __future__ import annotations

from time import time

from ..errors import CallError, StateLimitError, StateScopeError, StateTypeError
from ..json_values import MAX_SAFE, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..durations import Duration

    Value = tuple[bytes, "int | None"]

MAX_KEY = 1024
MAX_VALUE = 1024 * 1024
"""Bytes of a key, and of a value as JSON."""
MOST_KEYS = 10_000
MOST_OPS = 100
PAGE = 1_000
"""Keys of a scope, changes of a batch, keys of one answer."""
SCOPES = ("flow", "job", "handler", "global")


class Store:
    """Values by scope and key. `values`: what the scope holds at first that `ctx.state` itself is.

    `scopes`: those that the bundle is granted. `in_flow`: whether the job is part of a flow, whose scope is the default then.
    """

    def __init__(self, values: dict[str, Any] | None = None, *, scopes: tuple[str, ...] = SCOPES) -> None:
        self.granted = scopes
        self.in_flow = False
        self._scopes: dict[str, dict[str, Value]] = {}
        self._late = 0
        self._first = values or {}

    def begin(self, in_flow: bool) -> None:
        """A run begins."""
        self.in_flow = in_flow
        first, self._first = self._first, {}
        self.put(first)

    def put(self, values: dict[str, Any], scope: str | None = None) -> None:
        """Store values, as an earlier run would have."""
        for key, value in values.items():
            self._of(scope)[key] = (encode(value, f"state[{key!r}]"), None)

    def values(self, scope: str | None = None) -> dict[str, Any]:
        """What a scope holds, the default one if none is named."""
        there = self._of(scope)
        return {key: decode(there[key][0]) for key in sorted(there) if self._find(there, key) is not None}

    def advance(self, by: Duration) -> None:
        """Let so much time pass for what has a `ttl`."""
        from ..durations import milliseconds

        self._late += milliseconds(by)

    # What a host answers ------------------------------------------------------------------------------------------

    def answer(self, method: str, params: dict[str, Any]) -> Any:
        """The answer to a call whose method begins with `ctx.state.`. Raises CallErrors as a host does."""
        verb = method.rpartition(".")[2]
        there = self._of(self._allowed(params.get("scope")))
        if verb == "keys":
            return self._keys(there, params.get("cursor"))
        if verb == "batch":
            return self._batch(there, params["ops"])
        key = _checked_key(params["key"])
        if verb in ("get", "has"):
            found = self._find(there, key)
            return (found is not None) if verb == "has" else found and found[0]
        return self._changed(there, [(verb, params)])[0]

    def _allowed(self, asked: str | None) -> str | None:
        if asked is None:
            return None
        if asked not in SCOPES:
            raise StateScopeError(f"there is no state scope {asked!r}: flow, job, handler or global")
        if asked not in self.granted:
            raise StateScopeError(f"the bundle is not granted the state scope {asked!r}")
        if asked == "flow" and not self.in_flow:
            raise StateScopeError("this job is not part of a flow")
        return asked

    def _of(self, scope: str | None) -> dict[str, Value]:
        return self._scopes.setdefault(scope or ("flow" if self.in_flow else "job"), {})

    def _now(self) -> int:
        return int(time() * 1000) + self._late

    def _find(self, there: dict[str, Value], key: str) -> Value | None:
        found = there.get(key)
        return None if found is None or (found[1] is not None and found[1] <= self._now()) else found

    def _keys(self, there: dict[str, Value], cursor: str | None) -> dict[str, Any]:
        keys = [key for key in sorted(there) if self._find(there, key) and (cursor is None or key > cursor)]
        page = keys[:PAGE]
        return {"keys": encode(page, "keys"), "cursor": page[-1] if len(keys) > PAGE else None}

    def _batch(self, there: dict[str, Value], ops: list[dict[str, Any]]) -> list[Any]:
        if not 0 < len(ops) <= MOST_OPS:
            raise CallError(f"a batch has 1 to {MOST_OPS} changes", "InvalidParamsError")
        return self._changed(there, [(op["op"], op) for op in ops])

    def _changed(self, there: dict[str, Value], ops: list[tuple[str, dict[str, Any]]]) -> list[Any]:
        """Make changes, all or none."""
        after = {key: value for key, value in there.items() if self._find(there, key)}
        results = [self._change(after, verb, params) for verb, params in ops]
        if len(after) > MOST_KEYS:
            raise StateLimitError(f"a state scope has at most {MOST_KEYS:,} keys")
        there.clear()
        there.update(after)
        return results

    def _change(self, there: dict[str, Value], verb: str, params: dict[str, Any]) -> Any:
        key, value, ttl = _checked_key(params["key"]), params.get("value"), params.get("ttl")
        if value is not None and len(value) > MAX_VALUE:
            raise StateLimitError(f"the value of {key!r} has {len(value)} bytes; a state value has at most {MAX_VALUE}")
        before = there.get(key)
        until = None if ttl is None else self._now() + ttl
        if verb == "incr":
            total = _incremented(before, params["by"])
            there[key] = (b"%d" % total, before[1] if before else None)
            return total
        if verb == "cas" and (before[0] if before else None) != params["expected"]:
            return False
        if value is None:
            there.pop(key, None)
        else:
            there[key] = (value, until)
        return {"set": None, "delete": before is not None, "cas": True}[verb]


def _checked_key(key: str) -> str:
    size = len(key.encode("utf-8", "replace"))
    if not 0 < size <= MAX_KEY:
        raise StateLimitError(f"a state key has 1 to {MAX_KEY} bytes; this one has {size}")
    return key


def _incremented(before: Value | None, by: int) -> int:
    value = 0 if before is None else decode(before[0])
    if type(value) is not int:
        raise StateTypeError("incr needs an integer, and the stored value is none")
    total = int(value + by)
    if abs(total) > MAX_SAFE:
        raise StateTypeError(f"incr would leave the integers that JSON carries exactly, ±{MAX_SAFE}")
    return total
