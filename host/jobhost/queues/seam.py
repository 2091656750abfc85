"""The seam behind which queues live: every backend is one class that satisfies `Backend` and passes one contract suite.

Batch first: claims take many, settlements finish many, and the single case is a batch of one, since what costs is the
commit or the round trip and not the job. All methods are coroutines called from one event loop; a backend that blocks
does so on a thread of its own. Whatever a backend can't do because it is gone raises `BackendUnavailableError`.

A **lease** is a claim's right to its job: it carries a token, and each write of the holder (settle, progress, logs,
state) is checked against it in the same step. A lease that has run out stays good until somebody takes the job over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from .admission import Admission
from .dead_letters import Replayed
from .flows import Emit, FlowEvent, FlowInfo, FlowStatus, Happening, InFlow, NewFlow
from .job import (
    Claim,
    Event,
    HostInfo,
    Job,
    Json,
    Keep,
    Lease,
    LogLine,
    NewJob,
    PublishedHandler,
    QueueInfo,
    Rate,
    Settlement,
    State,
)
from .limits import Limits
from .schedules import Fired, Firing, Schedule
from .state_ops import Result, StateOp


@dataclass(slots=True, frozen=True)
class Added:
    """What became of one NewJob. `created` is False if a job of that id was there already (it is left as it is)."""

    id: str
    created: bool
    created_at: int


@dataclass(slots=True)
class Claimed:
    """`next_due`: Unix ms at which the next delayed job of the queue comes due, or None. `more`: jobs that the claim could
    have taken if `limit` were larger may be left."""

    claims: list[Claim]
    next_due: int | None
    more: bool


@dataclass(slots=True, frozen=True)
class Recovered:
    """What the search for expired leases found. `failed` jobs had stalled more than `max_stalled` times."""

    waiting: list[str]
    failed: list[str]


Renewal = Literal["ok", "lost", "cancel"]
"""`cancel`: the lease holds and somebody asked for the job to be cancelled."""

Cancelled = Literal["cancelled", "requested", "finished", "missing"]


class Backend(Protocol):
    """Jobs, their leases, logs and state, in one store. Opened once, closed once; `close` is safe before and twice."""

    claims_at_once: int
    """Claims that a busy host had better have under way: where each is a round trip, one after the other would have the server wait
    for the host and the host for the server."""

    most_at_once: int
    """Jobs that a host had better ask for in one claim, and again while it begins them: where a claim is a round trip, one for
    all places would have host and server wait for each other."""

    async def open(self) -> None:
        """Connect, and create what is missing. Raises BackendUnavailableError with what to do."""

    async def close(self) -> None: ...

    # Producing --------------------------------------------------------------------------------------------------

    async def add(self, jobs: Sequence[NewJob]) -> list[Added]:
        """Store jobs durably, in order, in one step: all or none. Wakes the hosts that watch their queues."""

    async def add_within(self, connection: object, jobs: Sequence[NewJob]) -> list[Added]:
        """Add jobs in a transaction of the user's: they are there if and only if it commits, and hosts that watch are woken then.

        Raises ConfigurationError where the store has no transactions, or this is no connection to it; and what the driver raises.
        """

    # Working ----------------------------------------------------------------------------------------------------

    async def claim(
        self,
        queue: str,
        limit: int,
        admission: Admission,
        lease_ms: int,
        host: str,
        rate: Rate | None = None,
        limits: Limits | None = None,
    ) -> Claimed:
        """Take up to `limit` jobs that are waiting, prioritized, or delayed and due, ordered by priority, then age.

        Jobs whose name `admission` has no place for stay in place, and others are taken past them. Takes nothing from a
        paused queue, and nothing beyond `rate` and `limits`: `next_due` is then no later than when there may be room. Where published
        handlers have keys they and their keys take turns, whatever priority and age say (fairness.py). A claimed job is active, has `host`,
        `started_at` and a new token.
        """

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims, each in one atomic step; False where the lease was lost and nothing was changed. Prunes by `keep`.

        A job that was to come back (`delayed`, `waiting`) but that somebody asked to be cancelled fails with CancelledError
        instead, as a waiting job does that is cancelled.
        """

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
        """Prolong leases from now on. One that ran out but that nobody took is renewed like any other."""

    async def recover(
        self, queue: str, max_stalled: int, keep: Keep | None = None, dead_letter: str | None = None
    ) -> Recovered:
        """Find active jobs whose lease ran out. Each counts one stall; up to `max_stalled` it goes back to waiting (no
        attempt used), above it fails with StalledError. Emits `stalled`. `keep` and `dead_letter` as in a Settlement."""

    def watch(self, queues: Sequence[str], wake: Callable[[str], None]) -> Callable[[], None]:
        """Call `wake(queue)` on the event loop's thread whenever the queue may have work: a job was added (delayed ones too, as
        `next_due` is another then), came back, was promoted, or the queue was resumed; by any process. May be called too
        often, never too seldom (a poll once a second is the safety net). Returns the function that ends it. Not called for
        delayed jobs that come due: see `next_due`."""

    async def progress(self, updates: Sequence[tuple[Lease, Json]]) -> None:
        """Store the latest progress of runs; those that lost their lease are left out. Emits `progress`."""

    async def update_data(self, lease: Lease, data: Json) -> None:
        """Replace the data of a running job, for later attempts too. Raises LeaseLostError."""

    async def wait_for_children(self, lease: Lease) -> bool:
        """Let a running job wait for its child jobs, if any has not ended; True if it does, and the lease is over then. Raises
        LeaseLostError."""

    async def log(self, lines: Sequence[tuple[Lease, LogLine]]) -> None:
        """Keep log lines with their jobs, the newest 1,000 of each; of lost leases too, since they say what happened."""

    # Looking ----------------------------------------------------------------------------------------------------

    async def get(self, queue: str, id: str) -> Job | None: ...

    async def jobs(
        self, queue: str | None = None, states: Sequence[State] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        """Jobs, the newest first (by when they were added), and the cursor of the next page, or None. No states: all."""

    async def logs(self, queue: str, id: str, after: int = 0) -> list[tuple[int, LogLine]]:
        """Lines in the order they were kept, each with its number (1, 2, … in this job); only those above `after`."""

    async def children(self, queue: str, id: str) -> Json:
        """The results of a parent's child jobs as one JSON object, by child key; empty for a job without any."""

    async def queues(self) -> list[QueueInfo]:
        """Every queue that has jobs or is paused, by name."""

    async def counts(self, queue: str) -> dict[str, int]:
        """Jobs in each state; all states are there."""

    def events(self, queue: str | None = None, types: Collection[str] = ()) -> AsyncIterator[Event]:
        """Events of one queue or all, live from the first step of the iterator on, from every process on this backend. Ends when
        the backend is closed.

        `types`: only these (none: all). Ask for no more than you need: events that nobody waits for are not even made, so a
        host that wants to hear of `cancel` alone costs the others nothing.

        Events may be lost when a subscriber is slow or a process dies: they are for watching; what is so is in `get`.
        """

    # Steering ---------------------------------------------------------------------------------------------------

    async def pause(self, queue: str) -> None:
        """No host claims from the queue, retries and delayed jobs included, until `resume`. Running jobs go on."""

    async def resume(self, queue: str) -> None: ...

    async def retry(self, queue: str, id: str) -> bool:
        """Put a failed or completed job back to waiting with all its attempts; False if there is none in such a state."""

    async def edit(self, queue: str, id: str, data: Json) -> bool:
        """Replace the data of a job that waits or is delayed; False if there is none in such a state."""

    async def replay(self, queue: str, id: str) -> Replayed:
        """Let the job of a dead letter run again and remove the letter, in one step (`dead_letters.py` says how). Raises JobActiveError
        if the letter itself is running."""

    async def cancel(self, queue: str, id: str) -> Cancelled:
        """A job that waits fails now with CancelledError (`cancelled`); for an active one its host is told (`requested`)."""

    async def promote(self, queue: str, id: str) -> bool:
        """Make a delayed job wait now; False if it isn't delayed."""

    async def remove(self, queue: str, id: str) -> bool:
        """Delete a job with its logs and its job state; False if it doesn't exist. Raises JobActiveError if it is active."""

    async def drain(self, queue: str, delayed: bool = False) -> int:
        """Delete what waits (and what is delayed too if asked); gives how many."""

    async def clean(self, queue: str, state: State, older_than_ms: int = 0, limit: int = 0) -> int:
        """Delete jobs in `state` that got there at least so long ago, the oldest first, at most `limit` (0: all); not active ones
        (ValueError)."""

    async def remove_queue(self, queue: str) -> int:
        """Delete a queue with all its jobs, logs, job state and its pause flag; gives how many jobs. Raises JobActiveError if
        any is active."""

    async def foreign_workers(self, queue: str) -> list[str]:
        """Workers of a queue that are no hosts of jobhost's, and so keep none of its limits, as far as the store can tell."""

    # Flows (queues/flows.py says what they are, queues/delivery.py what becomes of them) -----------------------------

    async def start_flow(self, flow: NewFlow) -> tuple[bool, int]:
        """Begin a flow with its first steps, in one step. Whether it is new (a second start of an id changes nothing), and how
        many first steps it was given."""

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        """Deliver emits of a running job at once, each once for all attempts of the job; gives the triggers that nobody
        subscribes to. Raises LeaseLostError."""

    async def happened(self, happenings: Sequence[Happening]) -> None:
        """Keep events of runs; a job that did not know its flow belongs to it from then on."""

    async def flow(self, id: str) -> FlowInfo | None: ...

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[FlowInfo], str | None]:
        """Flows, the newest first, and the cursor of the next page."""

    async def flow_children(self, id: str) -> list[FlowInfo]:
        """Its sub-flows."""

    async def flow_jobs(self, id: str) -> list[Job]:
        """Its jobs that are there, in the order they came to it."""

    async def flow_events(self, id: str, after: int = 0, limit: int = 1_000) -> list[FlowEvent]:
        """Events above a number, in order."""

    async def tell_flow(self, id: str, type: str, data: Json | None = None) -> None:
        """Append an event to a flow, if it is there."""

    async def cancel_flow(self, id: str) -> bool:
        """Let a running flow end as cancelled: nothing that its jobs emit counts any more. The jobs are left to the caller. False
        if it does not run."""

    async def reopen_flow(self, id: str) -> bool:
        """Let a flow that has ended run again, since jobs of it will; if none does, `sweep_flows` ends it. False if there is none."""

    async def sweep_flows(self, state_before: int | None, ended_before: int) -> int:
        """Forget the state of flows that ended before `state_before` (None: none), and the rest of those that ended before
        `ended_before` (Unix ms), some at a time; gives how many those are. Ends flows whose jobs are gone without a word."""

    # Schedules (queues/schedules.py says what they are) ---------------------------------------------------------------

    async def put_schedule(self, schedule: Schedule) -> None:
        """Add a schedule, or replace the one of its id; it is stored as it is."""

    async def schedule(self, id: str) -> Schedule | None: ...

    async def schedules(self) -> list[Schedule]:
        """All of them, by id."""

    async def remove_schedule(self, id: str) -> bool:
        """Delete one; the jobs that it has given are not touched. False if there is none."""

    async def due_schedules(self, limit: int) -> tuple[list[Schedule], int | None]:
        """Those that are due now, and when (Unix ms) the next one of the others comes due."""

    async def fire(self, firing: Firing) -> Fired | None:
        """Add the jobs that are due of a schedule and let it go on, in one step; None if another host was quicker."""

    # State (design: scopes are decided by the host and arrive here as one string) ---------------------------------

    async def state_get(self, scope: str, key: str) -> Json | None: ...

    async def state_set(
        self, scope: str, key: str, value: Json, ttl_ms: int | None = None, lease: Lease | None = None
    ) -> None:
        """Durable when it returns. Raises LeaseLostError if `lease` is given and lost; so do the two below."""

    async def state_delete(self, scope: str, key: str, lease: Lease | None = None) -> bool: ...

    async def state_incr(self, scope: str, key: str, by: int = 1, lease: Lease | None = None) -> int:
        """Atomic across hosts. A missing key counts as 0. Keeps the key's TTL. Raises StateTypeError if the value is no
        integer or the sum leaves ±(2^53-1)."""

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        """Many changes in one step, all or none; gives the result of each. Raises LeaseLostError, StateTypeError, and
        StateLimitError where the scope would have more than 10,000 keys, as the three above do."""

    async def state_keys(self, scope: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        """Keys in order, 1,000 a page, and the cursor of the next page."""

    async def state_scopes(self) -> list[str]:
        """Scopes that hold at least one key."""

    # Hosts ------------------------------------------------------------------------------------------------------

    async def heartbeat(self, host: HostInfo) -> None: ...

    async def forget_host(self, id: str) -> None: ...

    async def hosts(self) -> list[HostInfo]:
        """Hosts whose heartbeat is younger than two minutes."""

    async def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        """Tell producers which handlers exist, and emits who subscribes; replaces earlier entries of the same name."""

    async def unpublish(self, names: Sequence[str]) -> int:
        """Forget handlers, with what they subscribe to; gives how many there were."""

    async def published(self) -> list[PublishedHandler]: ...
