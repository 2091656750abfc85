"""The memory backend: everything of the seam, in dictionaries.

No method waits: each does all it has to do before it returns, so nothing is locked and a batch is one step by nature.
Several hosts of one process may share one instance. Events are made only for those who listen.
"""

from __future__ import annotations

from pathlib import Path

from jobhost.errors import ConfigurationError

from ..drivers import WithoutTransactions
from .flow_calls import FlowCalls
from .looking_calls import LookingCalls
from .side_calls import SideCalls
from .steering_calls import SteeringCalls


class MemoryBackend(SteeringCalls, LookingCalls, FlowCalls, SideCalls, WithoutTransactions):
    """Jobs in this process, gone with it."""

    most_at_once = 1_000
    claims_at_once = 1

    @classmethod
    def from_url(cls, url: str, base_dir: Path, prefix: str) -> MemoryBackend:
        """`memory://` has nothing to say but itself."""
        if url != "memory://":
            raise ConfigurationError(f"queue_url: {url!r}: memory:// takes nothing more")
        return cls()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """End watches and event streams; the jobs stay as long as the object."""
        self._feed.close()
