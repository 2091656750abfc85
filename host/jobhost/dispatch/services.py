"""What runs may ask of this host: their state, their logs, their progress. The host knows who asks; the child only says what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from jobhost_runtimes.run import Run
from jobhost_runtimes.services import LATER, Line
from jobhost_sdk.errors import CallError

from ..errors import BackendUnavailableError, LeaseLostError, StateLimitError, StateTypeError
from ..queues.flows import Happening, is_own_flow, shown
from ..queues.job import job_scope
from ..queues.seam import Backend
from ..queues.state_ops import StateOp
from .flows import Emitting
from .journal import Journal
from .live import Live

MAX_KEY = 1024
"""Bytes of a state key."""
MAX_VALUE = 1024 * 1024
"""Bytes of a state value as JSON."""

Call = Callable[[Live, dict[str, Any]], Awaitable[Any]]
ChildLog = Callable[[str, int, Line, Sequence[Live]], None]


class HostServices:
    """The `Services` of the runtimes, over a backend."""

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        scopes: Callable[[Live], Sequence[str]],
        on_child_log: ChildLog,
        on_run_log: Callable[[Live, Line], None] | None = None,
        *,
        emitting: Emitting,
        default_ttl: int | None = None,
    ) -> None:
        """`default_ttl`: ms for which what jobs and flows keep lives where they do not say."""
        self._default_ttl = default_ttl
        self._emitting = emitting
        self._backend = backend
        self._journal = journal
        self._scopes = scopes
        self._on_child_log = on_child_log
        self._on_run_log = on_run_log
        self._calls: dict[str, Call] = {
            "ctx.state.get": self._get,
            "ctx.state.set": self._set,
            "ctx.state.delete": self._delete,
            "ctx.state.has": self._has,
            "ctx.state.keys": self._keys,
            "ctx.state.incr": self._incr,
            "ctx.state.cas": self._cas,
            "ctx.state.batch": self._batch,
            "ctx.flow.emit": emitting.emit,
            "ctx.flow.start": emitting.start,
            "job.children": self._children,
            "job.updateData": self._update_data,
            "job.moveToDelayed": self._move_to_delayed,
            "job.moveToWaitingChildren": self._wait_for_children,
        }
        self.methods: Sequence[str] = list(self._calls)

    def call_now(self, run: Run, method: str, params: dict[str, Any]) -> Any:
        live: Live = run.tag
        if method != "ctx.flow.emit" or live.lost:
            return LATER
        return {} if self._emitting.noted(live, params) else LATER

    async def call(self, run: Run, method: str, params: dict[str, Any]) -> Any:
        live: Live = run.tag
        if live.lost:
            raise CallError("the run lost its lease: another host has the job", "LeaseLostError")
        try:
            return await self._calls[method](live, params)
        except LeaseLostError as error:
            raise CallError(str(error), "LeaseLostError") from error
        except (StateTypeError, StateLimitError) as error:
            raise CallError(str(error), type(error).__name__) from error
        except BackendUnavailableError as error:
            raise CallError(str(error), "BackendError") from error

    def log(self, run: Run, line: Line) -> None:
        live: Live = run.tag
        self._journal.add(live.lease, live.job.attempts_made + 1, line)
        if self._on_run_log is not None:
            self._on_run_log(live, line)

    def child_log(self, bundle: str, pid: int, line: Line, candidates: Sequence[Run]) -> None:
        self._on_child_log(bundle, pid, line, [run.tag for run in candidates])

    def progress(self, run: Run, value: bytes) -> None:
        live: Live = run.tag
        self._journal.progress(live.lease, value)
        if live.place is not None:
            self._journal.happened(
                Happening(live.lease, live.place, "step.progress", live.job.attempts_made + 1, shown("progress", value))
            )

    # State --------------------------------------------------------------------------------------------------------

    def _scope(self, live: Live, asked: str | None) -> str:
        """The backend's scope for what a run asked. Flow and job come from the run, never from the child."""
        job = live.job
        if asked is None:
            # A job that began its flow itself keeps its values where they were before its first emit.
            asked = "flow" if job.flow_id and not is_own_flow(job) else "job"
        if asked not in ("flow", "job", "handler", "global"):
            raise CallError(f"there is no state scope {asked!r}: flow, job, handler or global", "StateScopeError")
        if asked not in self._scopes(live):
            text = f'the bundle is not granted the state scope {asked!r}: add it to state = ["flow", "job", …] of the bundle'
            raise CallError(text, "StateScopeError")
        if asked == "flow":
            if not job.flow_id:
                raise CallError("this job is not part of a flow", "StateScopeError")
            return f"flow:{job.flow_id}"
        if asked == "job":
            return job_scope(job.queue, job.id, job.created_at)
        return "global" if asked == "global" else f"handler:{live.entry.bundle}:{live.entry.name}"

    @staticmethod
    def _key(params: dict[str, Any]) -> str:
        key: str = params["key"]
        if not 0 < len(key.encode("utf-8", "replace")) <= MAX_KEY:
            raise CallError(
                f"a state key has 1 to {MAX_KEY} bytes; this one has {len(key.encode())}", "StateLimitError"
            )
        return key

    @staticmethod
    def _check_value(key: str, value: bytes) -> None:
        if len(value) > MAX_VALUE:
            raise CallError(
                f"the value of {key!r} has {len(value)} bytes; a state value has at most {MAX_VALUE}", "StateLimitError"
            )

    def _ttl(self, scope: str, asked: int | None) -> int | None:
        """The time to live of what is written: what jobs and flows keep may have one by default."""
        return self._default_ttl if asked is None and scope.startswith(("job:", "flow:")) else asked

    async def _get(self, live: Live, params: dict[str, Any]) -> bytes | None:
        return await self._backend.state_get(self._scope(live, params.get("scope")), self._key(params))

    async def _set(self, live: Live, params: dict[str, Any]) -> None:
        key, value, scope = self._key(params), params["value"], self._scope(live, params.get("scope"))
        self._check_value(key, value)
        await self._backend.state_set(scope, key, value, self._ttl(scope, params.get("ttl")), live.lease)

    async def _delete(self, live: Live, params: dict[str, Any]) -> bool:
        return await self._backend.state_delete(self._scope(live, params.get("scope")), self._key(params), live.lease)

    async def _has(self, live: Live, params: dict[str, Any]) -> bool:
        return await self._get(live, params) is not None

    async def _keys(self, live: Live, params: dict[str, Any]) -> dict[str, Any]:
        keys, cursor = await self._backend.state_keys(self._scope(live, params.get("scope")), params.get("cursor"))
        return {"keys": json.dumps(keys).encode(), "cursor": cursor}

    async def _incr(self, live: Live, params: dict[str, Any]) -> int:
        scope = self._scope(live, params.get("scope"))
        return await self._backend.state_incr(scope, self._key(params), params["by"], live.lease)

    async def _cas(self, live: Live, params: dict[str, Any]) -> bool:
        key, value, scope = self._key(params), params["value"], self._scope(live, params.get("scope"))
        if value is not None:
            self._check_value(key, value)
        op = StateOp("cas", key, value, self._ttl(scope, params.get("ttl")), expected=params["expected"])
        return bool((await self._backend.state_change(scope, [op], live.lease))[0])

    async def _batch(self, live: Live, params: dict[str, Any]) -> list[Any]:
        scope = self._scope(live, params.get("scope"))
        ops = []
        for told in params["ops"]:
            key, value, verb = self._key(told), told.get("value"), told["op"]
            if verb == "set":
                self._check_value(key, value)
            ops.append(StateOp(verb, key, value, self._ttl(scope, told.get("ttl")), told.get("by") or 0))
        return await self._backend.state_change(scope, ops, live.lease)

    # Flows and children -------------------------------------------------------------------------------------------

    async def _children(self, live: Live, params: dict[str, Any]) -> bytes:
        return await self._backend.children(live.job.queue, live.job.id)

    # What processors of BullMQ do with their job ------------------------------------------------------------------

    async def _update_data(self, live: Live, params: dict[str, Any]) -> None:
        await self._backend.update_data(live.lease, params["data"])
        live.job.data = params["data"]

    async def _move_to_delayed(self, live: Live, params: dict[str, Any]) -> None:
        """Noted; done with the end of the run, as the lease has to hold until then."""
        live.delay_until = params["timestamp"]

    async def _wait_for_children(self, live: Live, params: dict[str, Any]) -> bool:
        live.left = await self._backend.wait_for_children(live.lease)
        return live.left
