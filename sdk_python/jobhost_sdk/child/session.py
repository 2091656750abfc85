"""What a child does with each message, whichever loop runs it.

A subclass says how a run begins and how the main thread is told of work; see `blocking` and `looping`.
"""

from __future__ import annotations

import sys
from _contextvars import copy_context
from time import time

from .. import output
from ..context import Context, SetupContext, SyncContext
from ..errors import CallError, InvalidJobDataError, InvalidValueError, ProtocolError
from ..failure import cancelled_error, error_map, one_line
from ..job import Job
from ..json_values import encode
from ..wire import Notification, Request
from .runs import LOG, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..discovery import Loaded
    from ..services import Services
    from .channel import Channel
    from .options import Options

_JOB = {
    "id": str,
    "name": str,
    "queue": str,
    "data": bytes,
    "attempt": int,
    "max_attempts": int,
    "priority": int,
    "created_at": int,
}
_JOB_TYPES = tuple(_JOB.values())

MAX_HELD = 1000
"""Log lines of `setup` that are kept until `initialize` is answered: a child writes nothing before it."""


class Session:
    """The conversation from `initialize` on. Methods named `on_` may run in a signal handler and must not wait."""

    def __init__(self, channel: Channel, loaded: Loaded, options: Options, services: Services) -> None:
        self.channel = channel
        self.loaded = loaded
        self.options = options
        self.services = services
        self.nobody = Run(self)
        self.setup_context = SetupContext(services, self.nobody, options.max_log_line)
        self.live: dict[str, Run] = {}
        self.done = False
        self.linger: Callable[[], None] | None = None
        self._held: list[bytes] | None = []
        channel.on_request = self.on_request
        channel.on_notification = self.on_notification

    run_types: dict[str, type[Run]]
    """The class of a run by the kind of its handler."""

    # What the loops decide

    def begin(self, run: Run) -> None:
        """Start a run, or queue it."""
        raise NotImplementedError

    def later(self, request: Request) -> None:
        """Have the main thread `serve` a request that runs the author's code."""
        raise NotImplementedError

    def interrupt(self, run: Run) -> None:
        """A live run was cancelled; `run.reason` is set."""
        raise NotImplementedError

    def withdraw(self, run: Run) -> bool:
        """Take a run back that waits for its turn; false if it has started."""
        raise NotImplementedError

    def run(self) -> None:
        """Serve until `shutdown` is answered."""
        raise NotImplementedError

    def on_urgent(self) -> None:
        """SIGURG: the host has sent a `cancel`."""
        self.channel.receive()

    def kick(self) -> None:
        """See to it that what was put on the channel is sent soon."""
        raise NotImplementedError

    # Messages

    def on_request(self, request: Request) -> None:
        method = request.method
        if method == "execute":
            run = self._admit(request)
            if run is not None:
                self.live[run.token or ""] = run
                self.begin(run)
        elif method == "validate" or method == "shutdown":
            self.later(request)
        elif method == "ping":
            self.answer(request.id, {})
        else:
            self.refuse(request.id, "UnknownMethodError", f"no method {method!r}")

    def on_notification(self, notification: Notification) -> None:
        if notification.method == "cancel":
            self._cancel(notification.params)

    def _admit(self, request: Request) -> Run | None:
        """Check the params of `execute` and make its run, or refuse it."""
        params = request.params
        token, name = params.get("run"), params.get("handler")
        job, context = params.get("job"), params.get("context")
        if type(token) is not str or type(name) is not str or type(job) is not dict or type(context) is not dict:
            return self._refuse_params(request, "execute takes run, handler, job and context")
        if tuple(map(type, map(job.get, _JOB))) != _JOB_TYPES:
            wrong = next(key for key, kind in _JOB.items() if type(job.get(key)) is not kind)
            return self._refuse_params(request, f"{wrong!r} of the job is not {_JOB[wrong].__name__}")
        if type(context.get("idempotency_key")) is not str:
            return self._refuse_params(request, "'idempotency_key' of the context is not str")
        handler = self.loaded.handlers.get(name)
        if handler is None:
            return self._refuse_params(request, f"no handler {name!r}")
        if token in self.live:
            return self._refuse_params(request, "the run is live already")
        return self.run_types[handler.kind](self, request.id, token, handler, job, context)

    def _refuse_params(self, request: Request, message: str) -> Run | None:
        self.refuse(request.id, "InvalidParamsError", message)
        return None

    def _cancel(self, params: dict[str, Any]) -> None:
        run = self.live.get(params["run"]) if type(params.get("run")) is str else None
        if run is None or run.reason is not None:
            return
        reason = params.get("reason")
        reason = reason if type(reason) is str else "cancelled"
        if self.withdraw(run):
            self.not_started(run, reason)
        elif reason != "recall":
            run.reason = reason
            self.interrupt(run)

    # Answers

    def answer(self, id: int, result: Any) -> None:
        self.channel.put(self.channel.peer.result(id, result))
        self.kick()

    def refuse(self, id: int, type: str, message: str) -> None:
        self._answer_error(id, {"type": type, "message": message[:1000], "stack": "", "retry": None, "data": None})

    def _answer_error(self, id: int, error: dict[str, Any]) -> None:
        self.channel.put(self.channel.peer.error(id, error))
        self.kick()

    def tell(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification; one too large for a frame is dropped. From a forked process lines go to fd 2 as text."""
        if self.channel.abandoned:
            if method == LOG:
                print(params["message"], file=sys.stderr)
            return
        try:
            frame = self.channel.peer.notify(method, params)
        except ProtocolError:
            return
        if self._held is not None:
            self._held.append(frame)
            del self._held[MAX_HELD:]
            return
        self.channel.put(frame)
        self.kick()

    def ready(self) -> None:
        """`initialize` is answered: what `setup` has logged may follow."""
        held, self._held = self._held or [], None
        for frame in held:
            self.channel.put(frame)
        self.channel.flush()

    # Runs

    def prepared(self, run: Run, kind: type[Context] | type[SyncContext]) -> tuple[Job, Any]:
        """Give what the handler is called with; raises InvalidJobDataError if it does not take the data."""
        assert run.handler is not None
        assert run.job is not None
        assert run.context is not None
        job = Job(run.job)
        if run.handler.validate is not None:
            job._data = run.handler.validate(run.job["data"])
        timeout = run.context.get("timeout_ms")
        deadline = int(time() * 1000) + timeout if type(timeout) is int else None
        cancellation: Any = run
        line, payloads = self.options.max_log_line, run.handler.payloads
        return job, kind(run, job, run.context, self.services, cancellation, deadline, line, payloads)

    def succeed(self, run: Run, result: Any) -> None:
        """Answer a run with what its handler returned, or with the error that it is no JSON value, or not what was declared."""
        assert run.handler is not None
        check = run.handler.encode_result
        try:
            text = _encoded(result) if check is None else check(result)
        except Exception as error:  # noqa: BLE001 - as a rule InvalidValueError; a dict subclass, or a model, may raise anything
            self.fail(run, error)
            return
        self._close(run)
        try:
            self.answer(run.id, text)
        except ProtocolError:
            most = self.options.max_frame
            too_large = InvalidValueError("result", f"{len(text)} bytes do not fit a frame of {most}")
            self._answer_error(run.id, error_map(too_large))

    def fail(self, run: Run, error: BaseException) -> None:
        described = error_map(error)
        self._close(run)
        self._answer_error(run.id, described)

    def cancelled(self, run: Run) -> None:
        """Answer a run that ended because it was cancelled."""
        self._close(run)
        self._answer_error(run.id, cancelled_error(run.reason or "cancelled"))

    def not_started(self, run: Run, reason: str) -> None:
        self._close(run)
        self._answer_error(run.id, cancelled_error(reason, "NotStartedError"))

    def _close(self, run: Run) -> None:
        """Send what the run has printed and not ended, and what was dropped; after that it is not live."""
        if run.partial is not None:
            output.end_lines(run, self.options.max_log_line)
        if run.throttle is not None:
            run.tell_dropped()
        run.live = False
        self.live.pop(run.token or "", None)

    def owner(self) -> Run:
        """Whose a line is that was written in no run's context, such as by a thread: the only started run's."""
        started = [run for run in list(self.live.values()) if run.started]
        return started[0] if len(started) == 1 else self.nobody

    def run_sync(self, run: Run) -> None:
        """Run a synchronous handler to its end, on this thread, and answer."""
        output.capture_logging(self.owner, self.options.max_log_line)
        run.started = True
        output.current.set(run)  # not reset: a run that has ended owns nothing any more
        try:
            job, ctx = self.prepared(run, SyncContext)
            assert run.handler is not None
            result = copy_context().run(run.handler.call, job, ctx)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler fails the run, not the child
            self.fail(run, error)
        else:
            self.succeed(run, result)

    # Requests that run the author's code

    def run_hook(self, hook: Callable[[Any], Any]) -> Any:
        """Call `setup` or `teardown` and give what it returns."""
        return hook(self.setup_context)

    def set_up(self) -> None:
        """Run the setups in order; what one returns as a dict becomes services too. Raises what they raise."""
        for setup in self.loaded.setups:
            made = self.run_hook(setup)
            if isinstance(made, dict):
                vars(self.services).update(made)

    def serve(self, request: Request) -> None:
        """Answer `validate` or `shutdown`."""
        try:
            if request.method == "validate":
                self.answer(request.id, {"problems": self._problems_of(request.params)})
            else:
                self._tear_down()
                self.done = self.channel.finished = True
                self.answer(request.id, {})
        except BaseException as error:  # noqa: BLE001 - whatever it is, the host is told
            self._answer_error(request.id, error_map(error))

    def _tear_down(self) -> None:
        """Run the teardowns, each whatever the others did; the child ends anyway."""
        for teardown in reversed(self.loaded.teardowns):
            try:
                self.run_hook(teardown)
            except BaseException as error:  # noqa: BLE001
                print(f"teardown: {one_line(error)}", file=sys.stderr)

    def _problems_of(self, params: dict[str, Any]) -> bytes:
        name, data = params.get("handler"), params.get("data")
        handler = self.loaded.handlers.get(name) if type(name) is str else None
        if handler is None or type(data) is not bytes:
            raise InvalidParamsError("validate takes the name of a handler and data")
        try:
            if handler.validate is not None:
                handler.validate(data)
        except InvalidJobDataError as error:
            return encode(error.fields or [{"field": "", "message": str(error)}], "problems")
        return b"[]"


def _encoded(result: Any) -> bytes:
    return b"null" if result is None else encode(result, "result")


class InvalidParamsError(CallError):
    """The host left out what a request needs."""
