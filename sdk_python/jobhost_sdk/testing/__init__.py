"""Run one handler in a test, without a host: the real `ctx` over a port that keeps what the handler does.

ran = run(resize, {"width": 80})
assert ran.result == {"ok": True}
assert ran.progress == [50]

`jobhost.testing` is for more than one: retries, schedules, flows from step to step.
"""

from __future__ import annotations

from .ran import Emit, Log, Ran
from .running import run, run_async
from .store import Store

__all__ = ["Emit", "Log", "Ran", "Store", "run", "run_async"]
