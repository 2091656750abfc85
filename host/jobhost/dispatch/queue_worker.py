"""One queue in one host: claims what there is room for, hands it to the handlers' runtimes, settles what comes back.

The claim loop sleeps until something changes: a job arrived, a place became free, a delayed job came due, the queue was resumed. While a
claim is under way further changes gather, so that the next one takes all of them at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from jobhost_runtimes.run import Ending, Outcome, Run, host_error
from jobhost_runtimes.services import Line

from .. import versions
from ..catalogue import Entry
from ..config.policy import Policy, handler_policy, put_job_over
from ..config.queues import QueueSettings
from ..config.retry import rule_for
from ..errors import BackendUnavailableError, UnknownJobTypeError
from ..limits import limits_of
from ..queues.admission import Admission
from ..queues.dead_letters import waiting_since
from ..queues.flows import Happening
from ..queues.job import Claim, Job, Lease, Rate, Settlement
from ..queues.limits import Limits
from .flows import place_of, put_flow
from .live import Live
from .outcomes import Tries, expired, failed, moved, settlement, unknown_job
from .strategies import wait_ms
from .wire import wire_context, wire_job

if TYPE_CHECKING:
    from .host import Host

RETURNED = Ending.RETURNED
UNKNOWN_EVERY = 1.0
"""Seconds between looks for jobs of unknown names while every handler is busy."""
TURNS = 3
"""Turns of the loop that the jobs of one claim have for themselves. A server answers claims that lie before it at once; were their jobs
begun together too, they would end and be settled together, and host and server would wait for each other for ever after. This way the
server works on one claim's settlements while the host works on the next one's jobs."""
MOST_TOLD = 4096
"""Characters of an error that the job's log keeps."""
MOST_PLANS = 10_000
"""Names of jobs whose plan is kept."""
Plan = tuple[Entry, Policy, Callable[[Run], None]]
RETRY_PAUSE = 0.5
"""Seconds before the backend is asked again after it could not be reached."""


class QueueWorker:
    """Serves one queue. `poke` says that something may have changed; everything runs on the host's loop."""

    def __init__(self, host: Host, settings: QueueSettings) -> None:
        self.host = host
        self.name = settings.name
        self.settings = settings
        self.paused = settings.paused
        """This host only; the shared flag is the backend's."""
        limit = settings.rate_limit
        self._rate = None if limit is None else Rate(limit.max, limit.every)
        self.live: dict[str, Live] = {}
        """Runs by job id, until settled."""
        self.running = 0
        self._plans: dict[str, Plan] = {}
        self._limits: Limits | None = None
        self._asked = 0
        self._wake = asyncio.Event()
        self._help = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._full = False
        """The last claim found as much as it asked for."""
        self._due: asyncio.TimerHandle | None = None
        self._unknown_timer: asyncio.TimerHandle | None = None
        self._draining = False
        self.next_due: int | None = None
        self.hungry = False
        """The last claim was held up by places, or found something: it is to be told when places become free."""
        self.idle = False
        """The last claim found nothing and nothing runs."""

    def poke(self, _queue: str | None = None) -> None:
        self._wake.set()

    def drain(self) -> None:
        """Claim nothing more."""
        self._draining = True

    async def run(self) -> None:
        """Serve until cancelled."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._claim():
                    pass
            except BackendUnavailableError as error:
                self.host.backend_trouble(error)
                asyncio.get_running_loop().call_later(RETRY_PAUSE, self.poke)

    async def help(self) -> None:
        """Claim beside `run` while there is more to do than one claim at a time brings, until cancelled."""
        while True:
            await self._help.wait()
            self._help.clear()
            try:
                while self._full and await self._claim():
                    pass
            except BackendUnavailableError as error:
                self.host.backend_trouble(error)

    # Claiming -----------------------------------------------------------------------------------------------------

    async def _claim(self) -> bool:
        """Claim as much as there is room for; True if there may be more for the room that is left."""
        async with self.host.claiming:
            room = self.settings.concurrency - self.running - self._asked
            if self._draining or self.paused or room <= 0:
                return False
            if self._limits is not None and not self.host.publisher.done.is_set():
                return False  # the store does not know the keys of jobs yet
            if self.host.hooks and self.host.hooks.behind:
                return False  # `poke_all` comes when they have caught up
            admission, free = self._admission()
            self.hungry = free <= 0 or admission.short
            if free <= 0:
                return False
            limit = min(room, free, self.host.backend.most_at_once)
            self._ask(limit)
            try:
                claimed = await self.host.backend.claim(
                    self.name, limit, admission, self.settings.lease, self.host.id, self._rate, self._limits
                )
                await self._beginning.acquire()
            finally:
                self._ask(-limit)
            self._full = len(claimed.claims) == limit
            try:
                for claim in claimed.claims:
                    self._begin(claim)
                if self._full and self.host.backend.claims_at_once > 1:
                    for _ in range(TURNS):
                        await asyncio.sleep(0)
            finally:
                self._beginning.release()
        self.hungry = self.hungry or bool(claimed.claims)
        if self._full:
            self._help.set()
        self._set_alarm(claimed.next_due)
        self.idle = not claimed.claims and not self.live
        if self.idle:
            self.host.queue_idle()
        return len(claimed.claims) == limit or claimed.more

    def _ask(self, places: int) -> None:
        """Places that a claim under way may fill, here and in the host."""
        self._asked += places
        self.host.asked += places

    def _admission(self) -> tuple[Admission, int]:
        """Which names have how many free places now, and how many places there are in all."""
        groups: list[tuple[Iterable[str], int]] = []
        asked = self.host.asked
        breaking = self.host.breakers.on
        shared: dict[tuple[int, str], tuple[int, list[str]]] = {}
        for entry in self.host.catalogue.entries:
            if entry.name == "*" or not self.settings.serves(entry.name):
                continue
            runtime = entry.runtime
            assert runtime is not None
            if breaking and (allowed := self.host.breakers.room(entry.name)) is not None:
                groups.append((entry.names, allowed - asked))
                if allowed <= 0:
                    continue
            # Handlers of one runtime and kind share its places.
            key = (id(runtime), entry.kind)
            if key not in shared:
                shared[key] = (runtime.room(entry.handler) - asked, [])
            shared[key][1].extend(entry.names)
            limit = entry.settings.concurrency
            if limit is not None:
                groups.append((entry.names, limit - self.host.running_of[entry.name] - asked))
        groups += [(names, room) for room, names in shared.values()]
        known = sum(max(0, room) for room, _ in shared.values())
        others = self._others()
        if others is not None:
            return Admission(groups, others), known + others
        if known <= 0 and groups and not self._unknown_due():
            return Admission(groups), 0
        if len(groups) == 1 and known > 0:
            # No claim larger than the one group there is: then the backend need not look at names. Unknown names follow.
            return Admission(groups), known
        return Admission(groups), known + self.settings.concurrency

    def _unknown_due(self) -> bool:
        """While no handler has a place, jobs of unknown names are looked for now and then: with each end of a run it would
        cost as much as the jobs themselves."""
        if self._unknown_timer is None:
            self._unknown_timer = asyncio.get_running_loop().call_later(UNKNOWN_EVERY, self.poke)
            return False
        if self._unknown_timer.when() > asyncio.get_running_loop().time():
            return False
        self._unknown_timer = None
        return True

    def _others(self) -> int | None:
        """Places for names that no handler has: none before every bundle has told its names, then as many as come."""
        wildcard = self.host.catalogue.wildcard(self.name)
        if wildcard is not None:
            assert wildcard.runtime is not None
            room = wildcard.runtime.room(wildcard.handler) - self.host.asked
            limit = wildcard.settings.concurrency
            if (allowed := self.host.breakers.room("*")) is not None:
                room = min(room, allowed - self.host.asked)
            return room if limit is None else min(room, limit - self.host.running_of["*"] - self.host.asked)
        # What is released comes back by itself; what is failed does not, and may be for a bundle that is still tried.
        known = not self.host.bundles.missing or self.settings.unknown_jobs == "release"
        return None if self.host.all_loaded and known else 0

    def _set_alarm(self, next_due: int | None) -> None:
        self.next_due = next_due
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if next_due is not None:
            seconds = max(0, next_due - self.host.clock()) / 1000
            self._due = asyncio.get_running_loop().call_later(seconds, self.poke)

    # A job's life -------------------------------------------------------------------------------------------------

    def _begin(self, claim: Claim) -> None:
        job = claim.job
        lease = Lease(self.name, job.id, claim.token)
        plan = self._plans.get(job.name) or self._plan(job.name)
        over = self._over(claim, lease)
        if plan is None:
            if over is not None:
                self._settle(over, job)
            else:
                self._settle_unknown(job, lease)
            return
        entry, policy, submit = plan
        policy = put_job_over(policy, job)
        live = Live(job, lease, entry, policy, max_payload=self.settings.max_payload)
        live.place = place = place_of(job, entry)
        if over is not None:
            put_flow(over, live)
            self._settle(over, job)
            return
        if place is not None:
            self.host.journal.happened(Happening(lease, place, "step.started", job.attempts_made + 1))
        run = live.run = Run(
            self.host.tokens.next(),
            entry.handler,
            wire_job(job, policy),
            wire_context(job, policy, live.place),
            self._ended,
            policy.timeout,
            job.suspect,
            live,
        )
        self.live[job.id] = live
        self.running += 1
        self.host.running_of[entry.name] += 1
        if self.host.hooks:
            self.host.hooks.begin(live, run, submit)
        else:
            submit(run)

    def _over(self, claim: Claim, lease: Lease) -> Settlement | None:
        """The end of a job that is over before it begins: its store says so, or it is too old."""
        if claim.failure is not None:
            return failed(lease, json.loads(claim.failure), self.settings, attempt_used=False)
        if self.settings.max_age is None:
            return None
        return expired(claim.job, lease, self.settings, self.host.clock())

    def _plan(self, name: str) -> Plan | None:
        """How jobs of a name are run here; None if no handler serves it."""
        entry = self.host.catalogue.find(name, self.name)
        if entry is None or not self.settings.serves(entry.name):
            return None
        assert entry.runtime is not None
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()  # one handler may serve a queue of countless names
        policy = handler_policy(name if entry.name == "*" else entry.name, self.name, entry.settings, self.host.config)
        plan = self._plans[name] = (entry, policy, entry.runtime.submit)
        return plan

    def forget_plans(self) -> None:
        """Handlers have been added: what serves a name, and what limits it, is to be found anew."""
        self._plans.clear()
        self._limits = limits_of(self.settings, self.host.catalogue.entries, self.host.config)

    def _settle_unknown(self, job: Job, lease: Lease) -> None:
        name, version = versions.split(job.name)
        here = self.host.catalogue.versions(name) if version is not None else []
        error = UnknownJobTypeError(job.name, self.host.catalogue.names(), here)
        stored = host_error("UnknownJobTypeError", str(error))
        self._settle(unknown_job(stored, job, lease, self.settings, bool(here)), job)

    def _ended(self, run: Run, outcome: Outcome) -> None:
        live: Live = run.tag
        live.run = None  # a run and what hangs at it hold each other: without this each job waits for the collector
        self.running -= 1
        self.host.running_of[live.entry.name] -= 1
        if self.host.breakers.on:
            self.host.breakers.ended(live.entry.name, outcome)
        if self.host.hooks:
            self.host.hooks.ended(live, outcome)
        if outcome.ending is RETURNED and not live.lost and not live.left:
            # What nearly always happens, as `settlement` decides it.
            ended = Settlement(
                live.lease, "completed", outcome.result, receipt=outcome.receipt, keep=self.settings.keep_completed
            )
            if live.place is not None or live.emits or live.entry.settings.flow is not None:
                put_flow(ended, live)
            self._settle(ended, live.job)
            self._wake.set()
            if self._full:
                self._help.set()
            return
        if live.left:
            self._forget(live)  # it waits for its children, and whoever takes it next goes on
            self._wake.set()
            return
        decided: Settlement | None = moved(
            outcome, live.lease, live.delay_until, self.host.clock(), self._rate
        ) or settlement(outcome, live.job, live.lease, self._tries(live, outcome), self.settings)
        if decided is None or live.lost:
            self._forget(live)
            self.host.log.warning(
                "lease.lost", queue=self.name, job_id=live.job.id, name=live.job.name, result="dropped"
            )
        else:
            decided.receipt = outcome.receipt
            put_flow(decided, live)
            if decided.error is not None:
                self.host.journal.add(live.lease, live.job.attempts_made + 1, end_line(decided, self.host.clock()))
            self._settle(decided, live.job)
        self._wake.set()

    def _forget(self, live: Live) -> None:
        """It is held no more; this host may have claimed the same job again meanwhile, and holds that."""
        if self.live.get(live.job.id) is live:
            del self.live[live.job.id]

    def _tries(self, live: Live, outcome: Outcome) -> Tries:
        """What holds for a job that failed, by the rule for its error if there is one."""
        attempts, backoff = live.policy.attempts, live.policy.backoff
        if live.policy.rules and outcome.error is not None:
            rule = rule_for(live.policy.rules, (outcome.error["type"], *outcome.kinds))
            if rule is not None:
                attempts, backoff = rule.over(attempts, backoff)
        most = self.settings.max_age
        return Tries(
            attempts,
            lambda made, error: wait_ms(self.host, backoff, made, error, live.job),
            self.host.clock(),
            None if most is None else waiting_since(live.job) + most,
        )

    def _settle(self, decided: Settlement, job: Job) -> None:
        if self.host.hooks:
            self.host.hooks.settling(job, decided)
        self.host.held.settle(decided, job, self)

    def settled(self, decided: Settlement, job: Job, held: bool) -> None:
        """The settlement is written, or was refused."""
        live = self.live.get(job.id)
        if live is not None and live.lease == decided.lease:
            self._forget(live)
        if self.host.hooks:
            self.host.hooks.settled(job, decided, held)
        self.host.settled(self, job, decided, held)
        if not self.live:
            self._wake.set()

    # Leases -------------------------------------------------------------------------------------------------------

    def lease_lost(self, live: Live) -> None:
        if not live.lost and live.run is not None and not live.run.ended:
            live.lost = True
            self._stop(live, "lease_lost")

    def cancel(self, job_id: str) -> None:
        """Somebody asked for a running job to be cancelled."""
        live = self.live.get(job_id)
        if live is not None:
            self._stop(live, "cancelled")

    def _stop(self, live: Live, reason: str) -> None:
        if self.host.hooks and live.run is not None and self.host.hooks.stop(live.run, reason):
            return
        if live.run is not None and not live.run.ended and live.entry.runtime is not None:
            live.entry.runtime.cancel(live.run, reason)


def end_line(decided: Settlement, now: int) -> Line:
    """What the job's log keeps of a run that did not end well: its error is gone from the job once a later attempt completes."""
    error = json.loads(decided.error or b"{}")
    failed = decided.to == "failed"
    comes_back = f"the job comes back in {decided.delay_ms} ms" if decided.delay_ms else "the job comes back"
    text = f"{'the job failed' if failed else comes_back}: {error.get('type')}: {error.get('message')}"
    return Line(now, "error" if failed else "warning", text[:MOST_TOLD], None, "host")
