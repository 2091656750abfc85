"""The one opening through which a run reaches the host.

A child has a port that writes frames; a host that runs a handler in its own process gives one that calls its services.
Both carry the same methods and params as the wire (PROTOCOL.md section 5), without `run`, which the port knows: user
values are JSON text in `bytes` either way, so that no handler can hold an object of the host's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any, Protocol
else:

    class Protocol:
        """`typing.Protocol` does nothing at run time that is worth 10 ms."""


class Notified(Protocol):
    """What both kinds of port can do."""

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Tell the host. Never blocks, never raises, may come from any thread; log lines may be dropped and counted."""


class Port(Notified, Protocol):
    """For the runs of asynchronous handlers; used on the event loop the handler runs on."""

    def call(self, method: str, params: dict[str, Any]) -> Awaitable[Any]:
        """Ask the host. Awaiting it gives the result, or raises the CallError the host answered with."""


class SyncPort(Notified, Protocol):
    """For the runs of synchronous handlers; used from any thread the handler starts."""

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the host and wait; gives the result, or raises the CallError the host answered with."""
