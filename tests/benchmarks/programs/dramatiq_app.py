"""An actor for dramatiq's own workers: `dramatiq tests.benchmarks.programs.dramatiq_app`. DRAMATIQ_URL names the server."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["DRAMATIQ_URL"]))  # type: ignore[no-untyped-call]


@dramatiq.actor(max_retries=0)
def noop(data: dict[str, Any]) -> None:
    return None
