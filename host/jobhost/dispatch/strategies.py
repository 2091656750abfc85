"""How long a failed job waits: the built-in strategies, and those of the user."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config.retry import Backoff
from ..queues.job import Job

if TYPE_CHECKING:
    from .host import Host

Strategy = Callable[[int, dict[str, Any], Job], int]
"""(attempts made, the error as stored, the job) -> milliseconds until the next attempt; 0 for at once."""


def wait_ms(host: Host, backoff: Backoff, made: int, error: dict[str, Any], job: Job) -> int:
    """Milliseconds until the next attempt. A strategy that is missing or fails falls back to the built-in exponential one."""
    strategy = host.strategies.get(backoff.type)
    if strategy is not None:
        try:
            return max(0, int(strategy(made, error, job)))
        except Exception as problem:  # noqa: BLE001 - the user's code; the job must still come back
            host.log.error(
                "backoff.strategy_failed", strategy=backoff.type, error=f"{type(problem).__name__}: {problem}"
            )
    elif backoff.type not in ("fixed", "exponential"):
        host.log.error("backoff.strategy_unknown", strategy=backoff.type, known=sorted(host.strategies))
    if backoff.type != "fixed":
        backoff = Backoff("exponential", backoff.delay, backoff.jitter)
    return backoff.wait_ms(made, random.random)
