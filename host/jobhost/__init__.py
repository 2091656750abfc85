"""jobhost: write handlers in any language, run `jobhost serve`, isolate untrusted handlers.

Names are imported when first used: a producer that wants a Client does not pay for a host.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .client import Client
    from .dispatch.host import Host
    from .errors import (
        BackendUnavailableError,
        ConfigurationError,
        FlowFailedError,
        FlowNotFoundError,
        InvalidJobDataError,
        JobActiveError,
        JobFailedError,
        JobhostError,
        JobNotFoundError,
        LeaseLostError,
        PayloadError,
        ScheduleNotFoundError,
        StateLimitError,
        StateTypeError,
        UnknownFlowError,
        UnknownJobTypeError,
        UnrecoverableError,
    )
    from .hooks import JobEvent
    from .registry import Registry

__all__ = [
    "BackendUnavailableError",
    "Client",
    "ConfigurationError",
    "FlowFailedError",
    "FlowNotFoundError",
    "Host",
    "InvalidJobDataError",
    "JobActiveError",
    "JobEvent",
    "JobFailedError",
    "JobNotFoundError",
    "JobhostError",
    "LeaseLostError",
    "PayloadError",
    "Registry",
    "ScheduleNotFoundError",
    "StateLimitError",
    "StateTypeError",
    "UnknownFlowError",
    "UnknownJobTypeError",
    "UnrecoverableError",
]

_HOMES = {"Client": "client", "Host": "dispatch.host", "JobEvent": "hooks", "Registry": "registry"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jobhost' has no attribute {name!r}")
    return getattr(import_module("." + _HOMES.get(name, "errors"), __name__), name)
