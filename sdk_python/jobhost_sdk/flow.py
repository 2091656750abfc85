"""Emits: `ctx.flow`."""

from __future__ import annotations

from .json_values import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .outputs import Encode
    from .port import Port, SyncPort


def _emit_params(
    trigger: str, payload: Any, key: str | None, immediate: bool, checks: dict[str, Encode] | None = None
) -> dict[str, Any]:
    if not isinstance(trigger, str):
        raise TypeError(f"a trigger is a str, not {type(trigger).__name__}")
    if key is not None and not isinstance(key, str):
        raise TypeError(f"the key of an emit is a str, not {type(key).__name__}")
    check = None if checks is None else checks.get(trigger)
    text = encode(payload, "payload") if check is None else check(payload)
    return {"trigger": trigger, "payload": text, "key": key, "immediate": bool(immediate)}


class Flow:
    """The flow this run is part of, or begins with its first emit."""

    __slots__ = ("_checks", "_emitted", "_port")

    def __init__(self, port: Port, emitted: Callable[[], None], checks: dict[str, Encode] | None = None) -> None:
        """`emitted` is called with the first emit: the run is part of a flow from then on. `checks`: of payloads, by trigger."""
        self._port = port
        self._emitted = emitted
        self._checks = checks

    async def emit(self, trigger: str, payload: Any = None, key: str | None = None, immediate: bool = False) -> None:
        """Give every handler that subscribes to `trigger` one job with `payload`, when this run succeeds.

        `key` tells two emits of one trigger apart over attempts; without it their order does. `immediate` sends at
        once, whatever becomes of the run. Raises FlowError at a trigger outside the handler's `emits`, InvalidJobDataError
        at a payload that its schema there refuses, CallError where it is too large or too much.
        """
        await self._port.call("ctx.flow.emit", _emit_params(trigger, payload, key, immediate, self._checks))
        self._emitted()

    async def start(self, name: str, data: Any = None, key: str | None = None, immediate: bool = False) -> str:
        """Start a flow under this one, when this run succeeds; give its id, the same for every attempt.

        This flow ends no sooner than that one, whose end emits `flow:NAME`, or `flow:NAME:failed`, into this one.
        Raises FlowError if no handler begins such a flow.
        """
        answer = await self._port.call("ctx.flow.start", _emit_params(name, data, key, immediate))
        self._emitted()
        return answer["flow_id"]  # type: ignore[no-any-return]


class SyncFlow:
    """`Flow` for synchronous handlers."""

    __slots__ = ("_checks", "_emitted", "_port")

    def __init__(self, port: SyncPort, emitted: Callable[[], None], checks: dict[str, Encode] | None = None) -> None:
        self._port = port
        self._emitted = emitted
        self._checks = checks

    def emit(self, trigger: str, payload: Any = None, key: str | None = None, immediate: bool = False) -> None:
        """As `Flow.emit`."""
        self._port.call("ctx.flow.emit", _emit_params(trigger, payload, key, immediate, self._checks))
        self._emitted()

    def start(self, name: str, data: Any = None, key: str | None = None, immediate: bool = False) -> str:
        """As `Flow.start`."""
        answer = self._port.call("ctx.flow.start", _emit_params(name, data, key, immediate))
        self._emitted()
        return answer["flow_id"]  # type: ignore[no-any-return]
