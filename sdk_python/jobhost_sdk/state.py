"""Durable values that outlive the run: `ctx.state`.

`State` is for asynchronous handlers, `SyncState` for the others; they differ by `await` alone.
"""

from __future__ import annotations

from .json_values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .durations import Duration
    from .port import Port, SyncPort


class _Calls:
    """The params of each call, for one scope."""

    __slots__ = ("_scope",)

    def __init__(self, scope: str | None) -> None:
        self._scope = scope

    def _of_key(self, key: str, **more: Any) -> dict[str, Any]:
        if not isinstance(key, str):
            raise TypeError(f"a key of state is a str, not {type(key).__name__}")
        return {"key": key, "scope": self._scope, **more}

    def _of_set(self, key: str, value: Any, ttl: Duration | None) -> dict[str, Any]:
        ms = None
        if ttl is not None:
            from .durations import milliseconds

            ms = milliseconds(ttl)
        return self._of_key(key, value=encode(value, f"state[{key!r}]"), ttl=ms)

    def _of_incr(self, key: str, by: int) -> dict[str, Any]:
        if type(by) is not int:
            raise TypeError(f"incr adds an int, not {type(by).__name__}")
        return self._of_key(key, by=by)

    def _of_cas(self, key: str, expected: Any, value: Any, ttl: Duration | None) -> dict[str, Any]:
        params = self._of_set(key, None if value is MISSING else value, ttl)
        if value is MISSING:
            params["value"] = None
        params["expected"] = None if expected is MISSING else encode(expected, f"expected[{key!r}]")
        return params

    def _of_batch(self, changes: Iterable[Sequence[Any]]) -> dict[str, Any]:
        return {"ops": [self._of_change(*change) for change in changes], "scope": self._scope}

    def _of_change(self, verb: str, key: str, *more: Any) -> dict[str, Any]:
        if verb == "set" and 1 <= len(more) <= 2:
            params = self._of_set(key, more[0], more[1] if len(more) > 1 else None)
        elif verb == "incr" and len(more) <= 1:
            params = self._of_incr(key, *more or (1,))
        elif verb == "delete" and not more:
            params = self._of_key(key)
        else:
            raise ValueError(
                f"{(verb, key, *more)!r} is no change of state: write ('set', key, value[, ttl]), ('incr', key[, by]) "
                "or ('delete', key)"
            )
        del params["scope"]
        return {"op": verb, **params}


class _Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""Stands for no value at all, which is not None, in `compare_and_set`."""


def _or_default(stored: bytes | None, default: Any) -> Any:
    return default if stored is None else decode(stored)


class State(_Calls):
    """Values of one scope: of the flow if the job is part of one, else of the job, unless `of` says otherwise."""

    __slots__ = ("_port",)

    def __init__(self, port: Port, scope: str | None = None) -> None:
        super().__init__(scope)
        self._port = port

    def of(self, scope: str) -> State:
        """Give the state of another scope: `job`, `flow`, `handler` or `global`, where the bundle is granted it."""
        return State(self._port, scope)

    async def get(self, key: str, default: Any = None) -> Any:
        """Give the stored value, which may be None, or `default` if nothing is stored."""
        return _or_default(await self._port.call("ctx.state.get", self._of_key(key)), default)

    async def set(self, key: str, value: Any, ttl: Duration | None = None) -> None:
        """Store a JSON value; durable once it returns. `ttl`: a duration such as "1h", after which it is gone."""
        await self._port.call("ctx.state.set", self._of_set(key, value, ttl))

    async def delete(self, key: str) -> bool:
        """Remove a value; says whether there was one."""
        return await self._port.call("ctx.state.delete", self._of_key(key))  # type: ignore[no-any-return]

    async def has(self, key: str) -> bool:
        return await self._port.call("ctx.state.has", self._of_key(key))  # type: ignore[no-any-return]

    async def keys(self) -> list[str]:
        """Give all keys of this scope."""
        keys: list[str] = []
        cursor = None
        while True:
            page = await self._port.call("ctx.state.keys", {"scope": self._scope, "cursor": cursor})
            keys += decode(page["keys"])
            cursor = page["cursor"]
            if cursor is None:
                return keys

    async def incr(self, key: str, by: int = 1) -> int:
        """Add to an integer, 0 if nothing is stored, and give the sum. Atomic: two runs never lose one."""
        return await self._port.call("ctx.state.incr", self._of_incr(key, by))  # type: ignore[no-any-return]

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: Duration | None = None) -> bool:
        """Store `value` if the stored one is `expected`; says whether it did. `MISSING` for either means no value.

        Values are compared as the JSON they are written as: the members of dicts have to be in the same order.
        """
        return await self._port.call("ctx.state.cas", self._of_cas(key, expected, value, ttl))  # type: ignore[no-any-return]

    async def batch(self, changes: Iterable[Sequence[Any]]) -> list[Any]:
        """Make up to 100 changes in one step, all or none: `("set", key, value[, ttl])`, `("incr", key[, by])` or
        `("delete", key)`. Gives the result of each, as the single calls do."""
        return await self._port.call("ctx.state.batch", self._of_batch(changes))  # type: ignore[no-any-return]


class SyncState(_Calls):
    """`State` for synchronous handlers: every call returns when the host has answered."""

    __slots__ = ("_port",)

    def __init__(self, port: SyncPort, scope: str | None = None) -> None:
        super().__init__(scope)
        self._port = port

    def of(self, scope: str) -> SyncState:
        """As `State.of`."""
        return SyncState(self._port, scope)

    def get(self, key: str, default: Any = None) -> Any:
        """As `State.get`."""
        return _or_default(self._port.call("ctx.state.get", self._of_key(key)), default)

    def set(self, key: str, value: Any, ttl: Duration | None = None) -> None:
        """As `State.set`."""
        self._port.call("ctx.state.set", self._of_set(key, value, ttl))

    def delete(self, key: str) -> bool:
        """As `State.delete`."""
        return self._port.call("ctx.state.delete", self._of_key(key))  # type: ignore[no-any-return]

    def has(self, key: str) -> bool:
        return self._port.call("ctx.state.has", self._of_key(key))  # type: ignore[no-any-return]

    def keys(self) -> list[str]:
        """As `State.keys`."""
        keys: list[str] = []
        cursor = None
        while True:
            page = self._port.call("ctx.state.keys", {"scope": self._scope, "cursor": cursor})
            keys += decode(page["keys"])
            cursor = page["cursor"]
            if cursor is None:
                return keys

    def incr(self, key: str, by: int = 1) -> int:
        """As `State.incr`."""
        return self._port.call("ctx.state.incr", self._of_incr(key, by))  # type: ignore[no-any-return]

    def compare_and_set(self, key: str, expected: Any, value: Any, ttl: Duration | None = None) -> bool:
        """As `State.compare_and_set`."""
        return self._port.call("ctx.state.cas", self._of_cas(key, expected, value, ttl))  # type: ignore[no-any-return]

    def batch(self, changes: Iterable[Sequence[Any]]) -> list[Any]:
        """As `State.batch`."""
        return self._port.call("ctx.state.batch", self._of_batch(changes))  # type: ignore[no-any-return]
