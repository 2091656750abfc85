"""The port of a run under test: answers as a host does, and keeps what the handler does."""

from __future__ import annotations

from ..context import Cancellation
from ..errors import FlowError, FlowLimitError, RunNotLiveError, UnknownMethodError
from ..json_values import decode, encode
from .ran import Emit, Log, Ran

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MAX_TRIGGER = 256
MAX_KEY = 1024
MAX_PAYLOAD = 1024 * 1024
"""Bytes of an emit's trigger, key and payload."""
MOST_EMITS = 10_000
OURS = ("step:", "flow:", "start:")


class FakePort:
    """Of a sync handler; `AsyncFakePort` is that of an asynchronous one."""

    def __init__(
        self,
        ran: Ran,
        name: str,
        may_emit: list[str] | None,
        children: dict[str, Any],
        cancel_when: Callable[[Ran], object] | None,
    ) -> None:
        """`may_emit`: the triggers that the handler declares; None: any."""
        self.live = True
        self.cancellation = Cancellation()
        self.interrupt: Callable[[], object] | None = None
        self._ran = ran
        self._name = name
        self._may_emit = may_emit
        self._children = encode(children, "children")
        self._cancel_when = cancel_when

    def cancel(self, reason: str) -> None:
        """Tell the run to stop."""
        if self.live and self.cancellation.reason is None:
            self.cancellation.reason = self._ran.cancelled = reason
            if self.interrupt is not None:
                self.interrupt()

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """As `Port.notify`."""
        if not self.live:
            return
        if method == "ctx.progress":
            self._ran.progress.append(decode(params["value"]))
        else:
            fields = params["fields"]
            self._ran.logs.append(Log(params["level"], params["message"], fields and decode(fields)))
        self._look()

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """As `SyncPort.call`."""
        answer = self._answer(method, params)
        self._look()
        return answer

    def _look(self) -> None:
        if self._cancel_when is not None and self._cancel_when(self._ran):
            self.cancel("cancelled")

    def _answer(self, method: str, params: dict[str, Any]) -> Any:
        if not self.live:
            raise RunNotLiveError(f"{method}: this run has ended")
        if method.startswith("ctx.state."):
            return self._ran.store.answer(method, params)
        if method == "ctx.flow.emit":
            self._allow(params["trigger"])
            self._emit(params)
            return {}
        if method == "ctx.flow.start":
            self._emit(params, starts=True)
            return {"flow_id": f"flow-{len(self._ran.emitted)}"}
        if method == "job.children":
            return self._children
        raise UnknownMethodError(f"the host has no method {method!r}")

    def _allow(self, trigger: str) -> None:
        if not 0 < len(trigger.encode("utf-8", "replace")) <= MAX_TRIGGER:
            raise FlowLimitError(f"a trigger has 1 to {MAX_TRIGGER} bytes")
        if trigger.startswith(OURS):
            raise FlowError(f"{trigger!r}: triggers that begin with step:, flow: or start: are jobhost's own")
        if self._may_emit is not None and trigger not in self._may_emit:
            raise FlowError(f"{self._name} may not emit {trigger!r}: its flow says emits = {self._may_emit}")

    def _emit(self, params: dict[str, Any], starts: bool = False) -> None:
        key, payload = params["key"], params["payload"]
        if key is not None and len(key.encode("utf-8", "replace")) > MAX_KEY:
            raise FlowLimitError(f"the key of an emit has at most {MAX_KEY} bytes")
        if len(self._ran.emitted) >= MOST_EMITS:
            raise FlowLimitError(f"a run emits at most {MOST_EMITS:,} times")
        if len(payload) > MAX_PAYLOAD:
            raise FlowLimitError(
                f"the payload of {params['trigger']!r} has {len(payload):,} bytes; {MAX_PAYLOAD:,} are the most"
            )
        self._ran.emitted.append(Emit(params["trigger"], decode(payload), key, params["immediate"], starts))


class AsyncFakePort(FakePort):
    """The same for asynchronous handlers."""

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """As `Port.call`."""
        return super().call(method, params)
