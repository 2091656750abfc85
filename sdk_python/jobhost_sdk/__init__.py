"""What a handler sees of jobhost, and the child that runs it. Standard library and msgpack only.

Names are imported when first used: the start of a child is a feature, and a child needs few of them.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context, SetupContext, SyncContext
    from .errors import (
        BackendError,
        CallError,
        CancelledError,
        ConfigurationError,
        FlowError,
        FlowLimitError,
        HandlerError,
        InvalidJobDataError,
        InvalidValueError,
        JobhostError,
        LeaseLostError,
        ProtocolError,
        RetryLater,
        RunNotLiveError,
        StateLimitError,
        StateScopeError,
        StateTypeError,
        UnknownMethodError,
        UnrecoverableError,
    )
    from .flow import Flow, SyncFlow
    from .handlers import Handler, handler
    from .job import Job
    from .logger import Logger
    from .services import Services
    from .state import MISSING, State, SyncState

_HOMES = {
    "context": ("Context", "SetupContext", "SyncContext"),
    "flow": ("Flow", "SyncFlow"),
    "handlers": ("Handler", "handler"),
    "job": ("Job",),
    "logger": ("Logger",),
    "services": ("Services",),
    "state": ("MISSING", "State", "SyncState"),
}

__all__ = [
    "MISSING",
    "BackendError",
    "CallError",
    "CancelledError",
    "ConfigurationError",
    "Context",
    "Flow",
    "FlowError",
    "FlowLimitError",
    "Handler",
    "HandlerError",
    "InvalidJobDataError",
    "InvalidValueError",
    "Job",
    "JobhostError",
    "LeaseLostError",
    "Logger",
    "ProtocolError",
    "RetryLater",
    "RunNotLiveError",
    "Services",
    "SetupContext",
    "State",
    "StateLimitError",
    "StateScopeError",
    "StateTypeError",
    "SyncContext",
    "SyncFlow",
    "SyncState",
    "UnknownMethodError",
    "UnrecoverableError",
    "__version__",
    "handler",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    value = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
    globals()[name] = value
    return value
