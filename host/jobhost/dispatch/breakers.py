"""Circuit breakers of handlers: where runs fail one after the other, jobs wait instead, without using attempts.

A breaker is closed, open for a while, then half open: one run is tried, and closes or opens it again, for twice as long each time. Its
state and the counts of its window are in the store, as state of a scope of its own: all hosts go by them, and `jobhost breakers` shows
them. A handler has its own, or shares a named one with others that need the same thing downstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobhost_runtimes.run import Ending, Outcome

from ..breakers import HALF_OPEN, OPEN, SCOPE, read_state, state_text
from ..catalogue import Entry
from ..config.breakers import Breaker, breaker_of
from ..errors import BackendUnavailableError
from ..queues.job import Json
from ..queues.state_ops import StateOp

if TYPE_CHECKING:
    from .host import Host

POLL = 1.0
"""Seconds within which a host knows that another one has opened or closed a breaker."""
LONGEST = 16
"""A breaker that opens again and again stays open so many times longer, at most."""
COUNTED = (Ending.RAISED, Ending.TIMED_OUT, Ending.DIED)


@dataclass(slots=True, eq=False)
class Circuit:
    """One breaker, as this host knows it. `stored`: its state as the store has it; None: closed."""

    name: str
    rules: Breaker
    handlers: set[str] = field(default_factory=set)
    stored: Json | None = None
    status: str = ""
    until: int = 0
    reopens: int = 0
    mine: bool = False
    """It is half open, and this host tries the run."""
    ok: int = 0
    failed: int = 0
    """Ends that the store does not know of yet."""
    row: int = 0
    """Runs of this host that failed one after the other: after much that went well a share would say nothing for long."""
    told: float = 0.0
    task: asyncio.Task[None] | None = None
    alarm: asyncio.TimerHandle | None = None


class Breakers:
    """One a host. `on`: some handler has one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._of: dict[str, Circuit] = {}
        self._circuits: dict[str, Circuit] = {}
        self._watching = False

    @property
    def on(self) -> bool:
        return bool(self._of)

    def take_in(self, entries: Sequence[Entry]) -> None:
        """Handlers were loaded."""
        for entry in entries:
            option = entry.settings.breaker
            found = None if option is None else breaker_of(entry.name, option, self._host.config)
            if found is not None:
                name, rules = found
                circuit = self._circuits.setdefault(name, Circuit(name, rules))
                circuit.handlers.add(entry.name)
                self._of[entry.name] = circuit
        if self._of and not self._watching:
            self._watching = True
            self._host.spawn(self._watch())

    def room(self, handler: str) -> int | None:
        """How many runs of a handler its breaker lets begin; None: any number."""
        circuit = self._of.get(handler)
        if circuit is None or not circuit.status:
            return None
        if circuit.status == HALF_OPEN and circuit.mine:
            return 1 - sum(self._host.running_of[name] for name in circuit.handlers)
        return 0

    # What runs come to --------------------------------------------------------------------------------------------

    def ended(self, handler: str, outcome: Outcome) -> None:
        """Count the end of a run."""
        circuit = self._of.get(handler)
        if circuit is None:
            return
        failed = _counts(circuit.rules, outcome)
        if failed is None:
            return
        if circuit.status == HALF_OPEN and circuit.mine:
            circuit.mine = False  # nothing more begins while that is written
            self._soon(circuit, self._tried(circuit, failed, outcome))
        elif not circuit.status:
            circuit.row = circuit.row + 1 if failed else 0
            circuit.failed += failed
            circuit.ok += not failed
            due = failed or asyncio.get_running_loop().time() - circuit.told >= POLL
            if due and (circuit.task is None or circuit.task.done()):
                self._soon(circuit, self._count(circuit, outcome))

    def _soon(self, circuit: Circuit, work: Any) -> None:
        circuit.task = self._host.spawn(self._safely(work))

    async def _safely(self, work: Any) -> None:
        try:
            await work
        except BackendUnavailableError as error:
            self._host.backend_trouble(error)

    async def _count(self, circuit: Circuit, outcome: Outcome) -> None:
        """Add what is new to the window's counts, and open the breaker if they are too bad."""
        while circuit.failed or circuit.ok:
            ok, failed, circuit.ok, circuit.failed = circuit.ok, circuit.failed, 0, 0
            circuit.told = asyncio.get_running_loop().time()
            rules = circuit.rules
            good, bad = _window_keys(circuit, self._host.clock())
            ops = []
            for key, count in ((good, ok), (bad, failed)):
                ops += [StateOp("cas", key, b"0", 2 * rules.within), StateOp("incr", key, by=count)]
            sums = await self._host.backend.state_change(SCOPE, ops)
            total_ok, total_failed = int(sums[1] or 0), int(sums[3] or 0)
            if circuit.row >= rules.failures:
                await self._open(circuit, f"{circuit.row} runs failed one after the other; the last: {_brief(outcome)}")
                return
            if total_failed >= rules.failures and total_failed >= rules.share * (total_ok + total_failed):
                reason = f"{total_failed} of {total_ok + total_failed} runs failed; the last: {_brief(outcome)}"
                await self._open(circuit, reason)
                return
            if not circuit.failed:
                return  # what went well is told together

    async def _open(self, circuit: Circuit, reason: str) -> None:
        wait = circuit.rules.open_for * min(LONGEST, 1 << circuit.reopens)
        value = state_text(OPEN, self._host.clock() + wait, circuit.reopens, reason, self._host.id)
        if await self._change(circuit, value):
            self._host.log.error("breaker.opened", breaker=circuit.name, reason=reason, for_ms=wait)
            told = {"breaker": {"name": circuit.name, "reason": reason, "open_for_ms": wait}}
            if self._host.alerts.on:
                self._host.alerts.tell("breaker_open", f"{circuit.name}:{circuit.until}", told, None, None)

    async def _tried(self, circuit: Circuit, failed: bool, outcome: Outcome) -> None:
        """The one run that was tried has ended."""
        if failed:
            circuit.reopens += 1
            await self._open(circuit, f"it was tried again, and failed: {_brief(outcome)}")
        elif await self._change(
            circuit, None, [StateOp("delete", key) for key in _window_keys(circuit, self._host.clock())]
        ):
            self._host.log.info("breaker.closed", breaker=circuit.name)

    # The shared state ---------------------------------------------------------------------------------------------

    async def _change(self, circuit: Circuit, value: Json | None, more: Sequence[StateOp] = ()) -> bool:
        """Change the state, unless somebody else was quicker."""
        ops = [StateOp("cas", circuit.name, value, expected=circuit.stored), *more]
        done = bool((await self._host.backend.state_change(SCOPE, ops))[0])
        self._know(circuit, value if done else await self._host.backend.state_get(SCOPE, circuit.name))
        return done

    def _know(self, circuit: Circuit, stored: Json | None) -> None:
        """Take in the state as the store has it."""
        if stored == circuit.stored:
            return
        before, circuit.stored = circuit.status, stored
        told = read_state(stored)
        circuit.status = told.get("status", "")
        circuit.until = told.get("until", 0)
        circuit.reopens = told.get("reopens", 0)
        circuit.mine = circuit.status == HALF_OPEN and told.get("host") == self._host.id
        circuit.ok = circuit.failed = circuit.row = 0
        if circuit.alarm is not None:
            circuit.alarm.cancel()
            circuit.alarm = None
        if circuit.status:
            seconds = max(0.0, (circuit.until - self._host.clock()) / 1000)
            circuit.alarm = asyncio.get_running_loop().call_later(seconds, self._time_is_up, circuit)
        if circuit.status != before or circuit.mine:
            self._host.poke_all()

    def _time_is_up(self, circuit: Circuit) -> None:
        """It was open for long enough, or nobody came to be tried, or who tried it is gone."""
        self._soon(circuit, self._try(circuit))

    async def _try(self, circuit: Circuit) -> None:
        until = self._host.clock() + circuit.rules.open_for
        value = state_text(HALF_OPEN, until, circuit.reopens, "one run is tried", self._host.id)
        first = circuit.status == OPEN
        if await self._change(circuit, value) and first:
            self._host.log.info("breaker.half_open", breaker=circuit.name)

    async def _watch(self) -> None:
        while True:
            for circuit in list(self._circuits.values()):
                try:
                    self._know(circuit, await self._host.backend.state_get(SCOPE, circuit.name))
                except BackendUnavailableError as error:
                    self._host.backend_trouble(error)
            await asyncio.sleep(POLL)


def _window_keys(circuit: Circuit, now: int) -> tuple[str, str]:
    """The counts of the window that is now: what went well, what failed."""
    window = now // circuit.rules.within
    return f"{circuit.name}#{window}#ok", f"{circuit.name}#{window}#failed"


def _counts(rules: Breaker, outcome: Outcome) -> bool | None:
    """Whether a run failed, as far as the breaker is concerned; None: it says nothing."""
    if outcome.ending is Ending.RETURNED:
        return False
    if outcome.ending not in COUNTED or outcome.error is None:
        return None
    if type(outcome.retry) is int and not outcome.uses_attempt:
        return None
    kinds = {outcome.error["type"], *outcome.kinds}
    if rules.errors is None:
        return None if "InvalidJobDataError" in kinds else True
    return True if kinds & set(rules.errors) else None


def _brief(outcome: Outcome) -> str:
    error = outcome.error or {}
    first = str(error.get("message", "")).split("\n", 1)[0][:200]
    return f"{error.get('type')}: {first}"
