"""What this host does for flows: keeps what runs emit until they end, puts it into their settlements, and sees to it that no emit is
settled before everybody's subscriptions are known.

A host that has just started may run a step before the bundle of the next one has told its handlers: ends with emits wait until
every bundle has answered or given up, and what they told is published.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobhost_sdk.errors import CallError

from ..catalogue import Entry
from ..queues.flows import (
    STEP,
    Emit,
    InFlow,
    flow_in_data,
    own_flow_id,
    reserved,
    started_flow,
    starts_of,
    step_failed_payload,
)
from ..queues.job import Job, Settlement

if TYPE_CHECKING:
    from ..queues.seam import Backend
    from .live import Live

MAX_TRIGGER = 256
"""Bytes of a trigger's name."""
MAX_KEY = 1024
"""Bytes of an emit's key."""
MOST_EMITS = 10_000
"""Emits of one run: all of them are delivered in the one step that ends it, and the store serves nobody else meanwhile."""
MOST_SAID = 1_000
"""Unmatched triggers that the log names: a child that makes up new ones must not fill log and host."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of all payloads of one run."""


class Emitting:
    """The emits of runs, on their way from `ctx.flow` to the settlement. `grants`: the patterns of triggers that a run's bundle may
    emit, None for any. `ready`: set while all subscriptions that this host knows of are published."""

    def __init__(
        self, backend: Backend, grants: Callable[[Live], Sequence[str] | None], ready: asyncio.Event, log: Any
    ) -> None:
        self._backend = backend
        self._grants = grants
        self._ready = ready
        self.log = log
        self._said: set[str] = set()
        self._known: set[str] = set()
        """Flows that some handler begins: asked for once."""

    # What runs ask -----------------------------------------------------------------------------------------------

    def noted(self, live: Live, params: dict[str, Any]) -> bool:
        """Keep an emit until the end of its run; False if it is to be sent at once. Raises CallError."""
        if params.get("immediate"):
            return False
        live.emits.append(self._emit_of(live, params))
        return True

    async def emit(self, live: Live, params: dict[str, Any]) -> dict[str, Any]:
        """`ctx.flow.emit`. Raises CallError with FlowError or FlowLimitError."""
        if not self.noted(live, params):
            await self._send(live, self._emit_of(live, params))
        return {}

    def _emit_of(self, live: Live, params: dict[str, Any]) -> Emit:
        trigger, key = params["trigger"], params.get("key")
        self._allow(live, trigger)
        if key is not None and len(key.encode("utf-8", "replace")) > MAX_KEY:
            raise CallError(f"the key of an emit has at most {MAX_KEY} bytes", "FlowLimitError")
        return self._counted(live, Emit(trigger, params["payload"], key, live.ordinal(trigger, key)))

    async def start(self, live: Live, params: dict[str, Any]) -> dict[str, Any]:
        """`ctx.flow.start`: a flow under this one. Gives its id."""
        name, payload, key = params["trigger"], params["payload"], params.get("key")
        self._grant(live, f"start:{name}")
        if name not in self._known:
            self._known = {begun for one in await self._backend.published() if (begun := starts_of(one.info))}
        if name not in self._known:
            raise CallError(f"no handler begins a flow {name!r}: one needs flow = {{name = {name!r}}}", "FlowError")
        emit = self._counted(live, Emit(name, payload, key, live.ordinal(f"start:{name}", key), starts=True))
        if params.get("immediate"):
            await self._send(live, emit)
        else:
            live.emits.append(emit)
        job = live.job
        return {"flow_id": started_flow(emit.id(job.queue, job.id, job.created_at))}

    def _allow(self, live: Live, trigger: str) -> None:
        if not 0 < len(trigger.encode("utf-8", "replace")) <= MAX_TRIGGER:
            raise CallError(f"a trigger has 1 to {MAX_TRIGGER} bytes", "FlowLimitError")
        if reserved(trigger):
            raise CallError(
                f"{trigger!r}: triggers that begin with step:, flow: or start: are jobhost's own", "FlowError"
            )
        declared = live.entry.settings.flow
        if declared is not None and trigger not in declared.emits:
            text = f"{live.entry.name} may not emit {trigger!r}: its flow says emits = {list(declared.emits)}"
            raise CallError(text, "FlowError")
        self._grant(live, trigger)

    def _grant(self, live: Live, trigger: str) -> None:
        granted = self._grants(live)
        if granted is not None and not any(fnmatch.fnmatchcase(trigger, pattern) for pattern in granted):
            text = (
                f'the bundle is not granted the emit {trigger!r}: emits = ["{trigger}"] in [[bundles]] would allow it'
            )
            raise CallError(text, "FlowError")

    @staticmethod
    def _counted(live: Live, emit: Emit) -> Emit:
        """An emit that is within the limits."""
        live.emitted_bytes += len(emit.payload)
        live.emitted += 1
        if live.emitted > MOST_EMITS:
            raise CallError(f"a run emits at most {MOST_EMITS:,} times", "FlowLimitError")
        if live.emitted_bytes > MOST_BYTES:
            raise CallError(f"the payloads of a run's emits have at most {MOST_BYTES:,} bytes", "FlowLimitError")
        if len(emit.payload) > live.max_payload:
            text = (
                f"the payload of {emit.trigger!r} has {len(emit.payload):,} bytes; "
                f"queue {live.job.queue!r} takes {live.max_payload:,} (max_payload)"
            )
            raise CallError(text, "FlowLimitError")
        return emit

    async def _send(self, live: Live, emit: Emit) -> None:
        await self._ready.wait()
        place = live.place or own_place(live.job, live.entry)
        attempt = live.job.attempts_made + 1
        unmatched = await self._backend.emit(live.lease, place, attempt, [emit])
        live.place = place
        self.told(unmatched, live.job.name)

    # What becomes of it --------------------------------------------------------------------------------------------

    def told(self, unmatched: Sequence[str], handler: str) -> None:
        """Say which triggers nobody subscribes to, each once."""
        for trigger in unmatched:
            if trigger not in self._said and len(self._said) < MOST_SAID:
                self._said.add(trigger)
                hint = "the flow's events keep it; a handler gets it whose flow says subscribes = [TRIGGER]"
                self.log.warning("emit.unmatched", trigger=trigger, handler=handler, hint=hint)


def place_of(job: Job, entry: Entry) -> InFlow | None:
    """A job's place in the flow it is part of; a flow that its data names becomes its own."""
    if job.flow_id is None:
        job.flow_id, job.flow_name = flow_in_data(job.data)
        if job.flow_id is None:
            return None
    flow = entry.settings.flow
    step = flow.step if flow is not None and flow.step is not None else job.name
    return InFlow(job.flow_id, job.flow_name, step, flow is None or flow.on_failure == "fail")


def own_place(job: Job, entry: Entry) -> InFlow:
    """The place of a job in the flow that it begins."""
    flow = entry.settings.flow
    step = flow.step if flow is not None and flow.step is not None else job.name
    name = flow.name if flow is not None else None
    return InFlow(own_flow_id(job.queue, job.id, job.created_at), name, step, flow is None or flow.on_failure == "fail")


def put_flow(decided: Settlement, live: Live) -> None:
    """Put a run's flow, and if it has ended for good what it emits, into its settlement."""
    flow = live.entry.settings.flow
    place = live.place
    if place is None and (live.emits or (flow is not None and flow.name is not None)):
        place = own_place(live.job, live.entry)
    if decided.to == "completed" and place is not None:
        decided.flow = place
        edge = Emit(f"{STEP}{place.step}", decided.result or b"null", implied=True)
        decided.emits = (*live.emits, edge)
    elif decided.to == "failed" and place is not None:
        decided.flow = place
        payload = step_failed_payload(decided.error, live.job.data, live.job.id)
        decided.emits = (Emit(f"{STEP}{place.step}:failed", payload, implied=True),)
    else:
        decided.flow = live.place


class Held:
    """Settlements with emits that wait for the subscriptions."""

    def __init__(self, ready: asyncio.Event, add: Callable[..., None]) -> None:
        self._ready = ready
        self._add = add
        self._held: list[tuple[Any, ...]] = []

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._held)

    def settle(self, decided: Settlement, *more: Any) -> None:
        """Settle now, or once the subscriptions are known."""
        if decided.emits and not self._ready.is_set():
            self._held.append((decided, *more))
        else:
            self._add(decided, *more)

    def release(self) -> None:
        """Settle what has waited."""
        held, self._held = self._held, []
        for one in held:
            self._add(*one)

    def hand_back(self) -> None:
        """The host stops before it knows: these jobs run again, for what they emit would be lost."""
        for decided, *more in self._held:
            self._add(Settlement(decided.lease, "waiting", attempt_used=False), *more)
        self._held = []
