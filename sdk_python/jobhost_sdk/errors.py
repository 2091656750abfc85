"""Errors a handler may raise or meet, and the one the wire raises.

Each class says who is at fault by its place: `HandlerError`s are the job's own doing, `CallError`s are what the host
answered to a `ctx` call, `ProtocolError` is the peer's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .durations import Duration


class JobhostError(Exception):
    """Something went wrong in jobhost."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().split("\n")[0])


class ConfigurationError(JobhostError):
    """A setting is wrong, or a service a handler needs was not set up."""


class ProtocolError(JobhostError):
    """The peer sent what the protocol does not allow."""


class HandlerError(JobhostError):
    """A handler said how its job should end."""


class UnrecoverableError(HandlerError):
    """The job fails now, whatever attempts are left."""


class RetryLater(HandlerError):  # noqa: N818 - reads as what it asks for: raise RetryLater("5m")
    """The job comes back later and no attempt is used, unless it is asked for."""

    def __init__(self, delay: Duration, message: str = "", *, attempt: bool = False) -> None:
        """`delay`: a duration such as "5m", at least 100 ms. `attempt`: it counts as an attempt, and fails the job after the last one:
        for a server that says when to try again (`Retry-After`). Raises ValueError at any other form."""
        from .durations import milliseconds

        super().__init__(message or f"come back in {delay}")
        self.delay_ms = milliseconds(delay)
        self.uses_attempt = attempt


class InvalidJobDataError(UnrecoverableError):
    """The data of a job is not what its handler takes.

    `fields`: a list of `{"field": path, "message": text}`.
    """

    def __init__(self, message: str = "", fields: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or []


class InvalidValueError(UnrecoverableError):
    """A value is not a JSON value. `path` says where: `result.items[3].when`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class CancelledError(JobhostError):
    """The run was cancelled. `reason`: timeout, cancelled, lease_lost or shutdown."""

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(f"the run was cancelled: {reason}")
        self.reason = reason


class CallError(JobhostError):
    """The host refused a call of `ctx`. `type` is the name of the error the host gave."""

    def __init__(self, message: str = "", type: str = "", data: Any = None) -> None:
        super().__init__(message)
        self.type = type or self.__class__.__name__
        self.data = data


class RunNotLiveError(CallError):
    """The run this call is made for has ended."""


class UnknownMethodError(CallError):
    """The host does not know this call."""


class StateLimitError(CallError):
    """A key or a value is larger than state may hold, or a scope has all the keys it may have."""


class StateTypeError(CallError):
    """`incr` of a value that is not an integer."""


class StateScopeError(CallError):
    """This bundle was not granted that scope of state."""


class LeaseLostError(CallError):
    """The job belongs to another host by now."""


class BackendError(CallError):
    """The queue's backend failed."""


class FlowError(CallError):
    """An emit was refused."""


class FlowLimitError(CallError):
    """A run emits too much, or a payload, key or trigger is too long; the message names the limit."""


def call_error(error: dict[str, Any]) -> CallError:
    """Make the exception of an error as the wire carries it; a type that has no class here is a plain CallError."""
    kinds = {kind.__name__: kind for kind in CallError.__subclasses__()}
    kind = kinds.get(error["type"], CallError)
    return kind(str(error.get("message") or ""), error["type"], error.get("data"))
