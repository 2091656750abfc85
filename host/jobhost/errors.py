"""Errors of the host and the client. Each says who is at fault and what to do; facts are attributes."""

from __future__ import annotations

from typing import Any

from jobhost_sdk.errors import ConfigurationError, InvalidJobDataError, JobhostError, UnrecoverableError

__all__ = [
    "BackendUnavailableError",
    "ConfigurationError",
    "InvalidJobDataError",
    "JobActiveError",
    "JobFailedError",
    "JobNotFoundError",
    "JobhostError",
    "LeaseLostError",
    "PayloadError",
    "StateLimitError",
    "StateTypeError",
    "UnknownJobTypeError",
    "UnrecoverableError",
]


class BackendUnavailableError(JobhostError):
    """The store of the queues can't be reached or used."""


class LeaseLostError(JobhostError):
    """The run no longer has its job: its lease ran out and another host took it."""


class JobActiveError(JobhostError):
    """The job is running: cancel it first."""


class JobNotFoundError(JobhostError):
    """There is no such job."""


class PayloadError(JobhostError):
    """The data of a job is not a JSON value, or is larger than the queue takes."""


class StateLimitError(JobhostError):
    """A state key or value is larger than allowed."""


class StateTypeError(JobhostError):
    """A state value is not of the type the operation needs."""


class UnknownJobTypeError(JobhostError):
    """No handler has this name."""

    def __init__(self, name: str, known: list[str], versions: list[str] | None = None) -> None:
        """`versions`: of the handler, where the job asks for another one."""
        listed = ", ".join(sorted(known)) or "none"
        text = f"no handler is named {name!r}; known here: {listed}"
        if versions:
            text = f"{name!r} asks for a version that is not here; here: {', '.join(versions)}"
        super().__init__(text)
        self.name = name
        self.known = sorted(known)


class ScheduleNotFoundError(JobhostError):
    """There is no such schedule."""


class FlowNotFoundError(JobhostError):
    """There is no such flow."""


class UnknownFlowError(JobhostError):
    """No handler begins a flow of this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        listed = ", ".join(sorted(set(known))) or "none"
        super().__init__(
            f"no handler begins a flow {name!r}: one needs flow = {{ name = {name!r} }} without subscribes; known: {listed}"
        )
        self.name = name
        self.known = sorted(set(known))


class FlowFailedError(JobhostError):
    """The flow failed or was cancelled. `error` is that of the first step that failed."""

    def __init__(self, flow_id: str, error: dict[str, Any]) -> None:
        super().__init__(f"flow {flow_id} failed: {error.get('type', 'Error')}: {error.get('message', '')}")
        self.flow_id = flow_id
        self.error = error


class JobFailedError(JobhostError):
    """The job failed. `error` is its error as a dict: type, message, stack, origin, …"""

    def __init__(self, job_id: str, error: dict[str, Any]) -> None:
        super().__init__(f"job {job_id} failed: {error.get('type', 'Error')}: {error.get('message', '')}")
        self.job_id = job_id
        self.error = error
