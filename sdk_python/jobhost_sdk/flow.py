"""Emits: `ctx.flow`."""

from __future__ import annotations

from .json_values import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .port import Port, SyncPort


def _emit_params(trigger: str, payload: Any, key: str | None, immediate: bool) -> dict[str, Any]:
    if not isinstance(trigger, str):
        raise TypeError(f"a trigger is a str, not {type(trigger).__name__}")
    if key is not None and not isinstance(key, str):
        raise TypeError(f"the key of an emit is a str, not {type(key).__name__}")
    return {"trigger": trigger, "payload": encode(payload, "payload"), "key": key, "immediate": bool(immediate)}


class Flow:
    """The flow this run is part of, or begins with its first emit."""

    __slots__ = ("_port",)

    def __init__(self, port: Port) -> None:
        self._port = port

    async def emit(self, trigger: str, payload: Any = None, key: str | None = None, immediate: bool = False) -> None:
        """Give every handler that subscribes to `trigger` one job with `payload`, when this run succeeds.

        `key` tells two emits of one trigger apart over attempts; without it their order does. `immediate` sends at
        once, whatever becomes of the run. Raises FlowError at a trigger outside the handler's `emits`.
        """
        await self._port.call("ctx.flow.emit", _emit_params(trigger, payload, key, immediate))


class SyncFlow:
    """`Flow` for synchronous handlers."""

    __slots__ = ("_port",)

    def __init__(self, port: SyncPort) -> None:
        self._port = port

    def emit(self, trigger: str, payload: Any = None, key: str | None = None, immediate: bool = False) -> None:
        """As `Flow.emit`."""
        self._port.call("ctx.flow.emit", _emit_params(trigger, payload, key, immediate))
