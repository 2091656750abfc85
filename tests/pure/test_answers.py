"""What a child's calls are counted as."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from jobhost_runtimes.answers import Answers
from jobhost_runtimes.run import Run
from jobhost_runtimes.services import LATER
from jobhost_sdk.wire.peer import Request

pytestmark = pytest.mark.anyio


class Account:
    """Counts turns; nobody has to wait."""

    def __init__(self) -> None:
        self.turns = self.calls = 0
        self.last_call = ""

    def turn(self, rate: float, burst: float) -> float:
        self.turns += 1
        return 0.0


class Services:
    """Answers emits at once, and everything else later."""

    methods = ("ctx.flow.emit", "ctx.state.get")

    def call_now(self, run: Run, method: str, params: dict[str, Any]) -> Any:
        return {} if method == "ctx.flow.emit" else LATER

    async def call(self, run: Run, method: str, params: dict[str, Any]) -> Any:
        return b"1"


async def test_each_call_takes_one_turn_of_the_rate() -> None:
    """Whether it is answered at once or later: else a run would get half of what it may ask."""
    answered: list[tuple[int, Any]] = []
    done = asyncio.Event()

    def result(id: int, value: Any) -> None:
        answered.append((id, value))
        if len(answered) == 2:
            done.set()

    taking = asyncio.Event()
    taking.set()
    connection: Any = SimpleNamespace(taking=taking, result=result)
    services: Any = Services()
    answers = Answers("bundle", 1, services, connection)
    run = Run("token", "h", {"name": "h", "id": "1"}, {}, lambda run, outcome: None)
    account: Any = Account()
    run.account, run.started = account, True
    emit = {"run": "token", "trigger": "t", "payload": b"1", "key": None, "immediate": False}
    answers.request(Request(1, "ctx.flow.emit", emit), {"token": run})
    assert answered == [(1, {})]
    answers.request(Request(2, "ctx.state.get", {"run": "token", "key": "k", "scope": None}), {"token": run})
    async with asyncio.timeout(10):
        await done.wait()
    assert answered == [(1, {}), (2, b"1")]
    assert (account.turns, account.calls) == (2, 2)
