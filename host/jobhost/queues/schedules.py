"""Schedules: jobs that come by the clock. What one is, when its ticks are, and what is due.

A **tick** is a time at which a schedule says that a job shall be. It comes due a little later where the schedule has jitter: how much
is derived from the schedule and the tick, so that all hosts agree. A job of a tick has the id `repeat:SCHEDULE:TICK` (BullMQ's own form),
so that a tick is one job however many hosts fire it.

Cron expressions are those of Debian's cron, read by cronsim, with an optional first field for seconds; in a time zone, ticks follow the
clock on the wall there: what a night of changed clocks leaves out comes right after it, and what it repeats comes once, but for
expressions with a wildcard hour or minute, which follow real time (cron(8) of Debian).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, tzinfo
from hashlib import sha1
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobhost.errors import ConfigurationError

from .job import Json, NewJob

Overlap = Literal["allow", "skip", "replace"]
CatchUp = Literal["one", "all", "none"]
OVERLAPS: tuple[Overlap, ...] = ("allow", "skip", "replace")
CATCH_UPS: tuple[CatchUp, ...] = ("one", "all", "none")

MOST_AT_ONCE = 1_000
"""Ticks that one firing makes jobs of; more that are due follow with the next."""
LATE_MS = 30_000
"""A tick that comes due so long ago was missed, as `catch_up = "none"` means it."""
SHORTEST_MS = 100
"""The shortest interval."""


@dataclass(slots=True, frozen=True)
class Schedule:
    """Exactly one of `cron` (in the time zone `tz`, UTC by default), `every_ms` and `at` (Unix ms, once) is given.

    `overlap`: what a tick does while the job of the tick before has not ended: `allow` both, `skip` the new one, or `replace` the old.
    `catch_up`: of ticks that were missed while no host ran, `one` (the last), `all` or `none` are made up for.
    `anchor`: where intervals are counted from. `tick`: the next one; None: there is none any more.
    """

    id: str
    name: str
    queue: str = "default"
    data: str = "null"
    cron: str | None = None
    tz: str | None = None
    every_ms: int | None = None
    at: int | None = None
    overlap: Overlap = "allow"
    catch_up: CatchUp = "one"
    jitter_ms: int = 0
    priority: int = 0
    attempts: int | None = None
    timeout_ms: int | None = None
    paused: bool = False
    bullmq: bool = False
    """A job scheduler of BullMQ's own, on Redis: its other workers know it, and make its next job. It has no pause, and none of the
    three policies."""
    source: str | None = None
    """The configuration that it comes from; None: it was added by hand."""
    anchor: int = 0
    tick: int | None = None
    last_tick: int | None = None
    last_job: str | None = None
    runs: int = 0
    skipped: int = 0

    @property
    def due(self) -> int | None:
        """When the next tick comes due, Unix ms; None if none does."""
        return None if self.paused or self.tick is None else self.due_of(self.tick)

    def due_of(self, tick: int) -> int:
        """When a tick comes due."""
        if not self.jitter_ms:
            return tick
        drawn = sha1(f"{self.id}\0{tick}".encode(), usedforsecurity=False).digest()[:6]
        return tick + int.from_bytes(drawn) % self.jitter_ms

    @property
    def definition(self) -> tuple[Any, ...]:
        """What its author wrote: a schedule whose definition is the same goes on as it was."""
        written = (
            self.bullmq,
            self.name,
            self.queue,
            self.data,
            self.cron,
            self.tz,
            self.every_ms,
            self.at,
            self.overlap,
        )
        return (*written, self.catch_up, self.jitter_ms, self.priority, self.attempts, self.timeout_ms)


@dataclass(slots=True, frozen=True)
class Firing:
    """What is due of a schedule: jobs for ticks in their order, and how the schedule stands afterwards. `before`: its tick as it was,
    which decides whether another host was quicker."""

    schedule: Schedule
    before: int
    jobs: list[NewJob]
    missed: int = 0


@dataclass(slots=True, frozen=True)
class Fired:
    """`added`: ids of jobs; `skipped`: ticks without one; `replaced`: the job that is to be cancelled, as (queue, id)."""

    added: list[str]
    skipped: int = 0
    replaced: tuple[str, str] | None = None


def checked(schedule: Schedule) -> Schedule:
    """Give it back if it can work. Raises ValueError that says what is wrong."""
    given = [
        word
        for word, value in (("cron", schedule.cron), ("every", schedule.every_ms), ("at", schedule.at))
        if value is not None
    ]
    if len(given) != 1:
        found = "none of them" if not given else " and ".join(given)
        raise ValueError(f"a schedule has one of cron, every and at; this one has {found}")
    if not schedule.id or len(schedule.id.encode()) > 256 or "\0" in schedule.id:
        raise ValueError("the id of a schedule has 1 to 256 bytes")
    if schedule.tz is not None and schedule.cron is None:
        raise ValueError("tz goes with cron: intervals and single times know no time zone")
    if schedule.every_ms is not None and schedule.every_ms < SHORTEST_MS:
        raise ValueError(f"every is {SHORTEST_MS} ms or more")
    if schedule.bullmq and (
        schedule.at is not None
        or schedule.overlap != "allow"
        or schedule.catch_up != "one"
        or schedule.jitter_ms
        or schedule.paused
    ):
        raise ValueError(
            "a job scheduler of BullMQ knows cron, tz and every; no at, overlap, catch_up, jitter and pause"
        )
    if schedule.cron is not None:
        zone_of(schedule.tz)
        _cron(schedule.cron, datetime.now(UTC))
    return schedule


def zone_of(name: str | None) -> tzinfo:
    """The time zone of a name; UTC for none. Raises ValueError."""
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write one such as Europe/Berlin") from error


def _cron(expression: str, start: datetime) -> Iterator[datetime]:
    from cronsim import CronSim, CronSimError

    try:
        return CronSim(expression, start)
    except CronSimError as error:
        raise ValueError(
            f"{expression!r} is no cron expression: {error}; write five fields, such as '0 7 * * MON-FRI'"
        ) from error


def ticks(schedule: Schedule, after: int) -> Iterator[int]:
    """The ticks after a time, in order."""
    if schedule.at is not None:
        if schedule.at > after:
            yield schedule.at
        return
    if schedule.every_ms is not None:
        tick = schedule.anchor + max(0, (after - schedule.anchor) // schedule.every_ms + 1) * schedule.every_ms
        while True:
            yield tick
            tick += schedule.every_ms
    assert schedule.cron is not None
    start = datetime.fromtimestamp(after / 1000, UTC).astimezone(zone_of(schedule.tz))
    for moment in _cron(schedule.cron, start):
        if (found := int(moment.timestamp() * 1000)) > after:
            yield found


def need_ours(schedule: Schedule, store: str) -> None:
    """Raise ConfigurationError for a job scheduler of BullMQ where there is no BullMQ."""
    if schedule.bullmq:
        raise ConfigurationError(f"schedule {schedule.id!r}: bullmq = true works on Redis, not on {store}")


def begun(schedule: Schedule, now: int, before: Schedule | None = None) -> Schedule:
    """A schedule as it is kept from now on. `before`: the one of its id that is there, which goes on if nothing else was written.

    A pause by hand outlives the host that brings the schedule from its configuration again.
    """
    if before is not None and before.definition == schedule.definition:
        return replace(before, source=schedule.source, paused=before.paused or schedule.paused)
    if schedule.at is not None:
        tick: int | None = schedule.at
    else:
        schedule = replace(schedule, anchor=now)
        tick = next(ticks(schedule, now), None)
    kept = {} if before is None else {"last_tick": before.last_tick, "last_job": before.last_job, "runs": before.runs}
    return replace(schedule, tick=tick, **kept)  # type: ignore[arg-type]


def resumed(schedule: Schedule, paused: bool, now: int) -> Schedule:
    """A schedule paused or resumed. What its ticks would have been meanwhile is not made up for: the pause was wanted."""
    if paused or not schedule.paused:
        return replace(schedule, paused=paused)
    tick = schedule.tick if schedule.at is not None else next(ticks(schedule, now), None)
    return replace(schedule, paused=False, tick=tick)


def firing(schedule: Schedule, now: int) -> Firing | None:
    """What is due of a schedule; None if nothing is."""
    if schedule.tick is None or (schedule.due or now + 1) > now:
        return None
    due = [schedule.tick]
    following: int | None = None
    for tick in ticks(schedule, schedule.tick):
        if schedule.due_of(tick) > now:
            following = tick
            break
        due.append(tick)
        if schedule.catch_up == "all" and len(due) > MOST_AT_ONCE:
            following = due.pop()
            break
    wanted = due
    if schedule.catch_up != "all":
        wanted = due[-1:]
        if schedule.catch_up == "none" and now - schedule.due_of(due[-1]) > LATE_MS:
            wanted = []
    after = replace(schedule, tick=following, last_tick=due[-1])
    jobs = [job_of(schedule, tick) for tick in wanted]
    return Firing(after, schedule.tick, jobs, len(due) - len(wanted))


def job_of(schedule: Schedule, tick: int, by_hand: bool = False) -> NewJob:
    """The job of a tick. `by_hand`: one that is run besides."""
    told = {"schedule": {"id": schedule.id, "tick": tick}}
    return NewJob(
        schedule.name,
        schedule.data.encode(),
        schedule.queue,
        None if by_hand else f"repeat:{schedule.id}:{tick}",
        priority=schedule.priority,
        attempts=schedule.attempts,
        timeout_ms=schedule.timeout_ms,
        metadata=json.dumps(told).encode(),
    )


def settled(firing: Firing, before: Schedule, running: bool) -> tuple[Schedule, list[NewJob], Fired]:
    """What a firing comes to, given whether the last job of the schedule has not ended: the rules of overlap, in one place.

    Gives the schedule as it stands then, and the jobs to add; the ids in `Fired.added` are theirs.
    """
    jobs, replaced = firing.jobs, None
    if jobs and before.overlap != "allow":
        if running and before.overlap == "skip":
            jobs = []
        elif before.overlap == "skip":
            jobs = jobs[:1]
        else:
            jobs = jobs[-1:]
            if running and before.last_job is not None:
                replaced = (before.queue, before.last_job)
    skipped = firing.missed + len(firing.jobs) - len(jobs)
    ids = [job.id for job in jobs if job.id is not None]
    after = replace(
        firing.schedule,
        runs=before.runs + len(jobs),
        skipped=before.skipped + skipped,
        last_job=ids[-1] if ids else before.last_job,
    )
    return after, jobs, Fired(ids, skipped, replaced)


def is_over(schedule: Schedule) -> bool:
    """Whether it goes after its last firing. One from a configuration stays, so that it is not begun again from there."""
    return schedule.tick is None and schedule.source is None


def dumped(schedule: Schedule) -> Json:
    """As it is stored."""
    return json.dumps(asdict(schedule), ensure_ascii=False, separators=(",", ":")).encode()


def loaded(stored: Json) -> Schedule:
    """What `dumped` gave, by this version or another."""
    told = json.loads(stored)
    return Schedule(**{field.name: told[field.name] for field in fields(Schedule) if field.name in told})
