"""Schedules on every backend: what is due, fired once by whoever is quicker, and how missed and overlapping ticks are treated."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import anyio
import pytest
from jobhost.dispatch.scheduler import Scheduler, take_in
from jobhost.queues.schedules import Schedule, begun, firing, resumed
from jobhost.queues.seam import Backend

from .backends import TurnedClock, claim, claim_one, completed, ids, job_of
from .functions import Recorder

pytestmark = pytest.mark.anyio
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


def never(error: Exception) -> None:
    raise error


async def put(backend: Backend, clock: TurnedClock, id: str = "s", **options: Any) -> Schedule:
    if "cron" not in options and "at" not in options:
        options.setdefault("every_ms", MINUTE)
    schedule = begun(Schedule(id, "report", **options), clock.now)
    await backend.put_schedule(schedule)
    return schedule


async def fire(backend: Backend, clock: TurnedClock, log: Recorder | None = None) -> int | None:
    return await Scheduler(backend, log or Recorder(), never).fire_due(clock.now)


async def there(backend: Backend, id: str = "s") -> Schedule:
    schedule = await backend.schedule(id)
    assert schedule is not None
    return schedule


async def test_an_interval_gives_a_job_for_each_of_its_ticks(
    backend: Backend, other: Backend, clock: TurnedClock
) -> None:
    """C5: intervals."""
    start = clock.now
    await put(backend, clock, data='{"n":1}', priority=2, attempts=4, timeout_ms=5_000)
    assert await fire(backend, clock) == start + MINUTE
    assert await ids(backend) == []
    clock.advance(MINUTE)
    assert await fire(backend, clock) == start + 2 * MINUTE
    job = await job_of(other, f"repeat:s:{start + MINUTE}")
    assert (job.name, job.data, job.priority, job.max_attempts, job.timeout_ms) == ("report", b'{"n":1}', 2, 4, 5_000)
    assert json.loads(job.metadata or b"") == {"schedule": {"id": "s", "tick": start + MINUTE}}
    clock.advance(MINUTE - 1)
    await fire(other, clock)
    assert len(await ids(backend)) == 1
    clock.advance(1)
    await fire(other, clock)
    assert len(await ids(backend)) == 2
    schedule = await there(backend)
    assert (schedule.runs, schedule.last_tick, schedule.tick) == (2, start + 2 * MINUTE, start + 3 * MINUTE)
    assert schedule.last_job == f"repeat:s:{start + 2 * MINUTE}"


async def test_two_hosts_never_fire_one_tick_twice(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """C5: also where both have read the same."""
    await put(backend, clock)
    clock.advance(MINUTE)
    [read], _ = await backend.due_schedules(10)
    due = firing(read, clock.now)
    assert due is not None
    fired = [await backend.fire(due), await other.fire(due)]
    assert [one is not None for one in fired] == [True, False]
    for _ in range(20):
        clock.advance(MINUTE)
        async with anyio.create_task_group() as group:
            for handle in (backend, other):
                group.start_soon(fire, handle, clock)
    jobs = await ids(backend)
    assert len(jobs) == len(set(jobs)) == 21
    assert (await there(backend)).runs == 21


async def test_a_single_time_comes_once(backend: Backend, clock: TurnedClock) -> None:
    """C5: one-off; by hand it goes afterwards, from a configuration it stays, so that it is not begun again."""
    await put(backend, clock, "by-hand", at=clock.now + SECOND)
    await put(backend, clock, "written", at=clock.now + SECOND, source="config:x")
    clock.advance(2 * SECOND)
    await fire(backend, clock)
    assert len(await ids(backend)) == 2
    assert [schedule.id for schedule in await backend.schedules()] == ["written"]
    assert (await there(backend, "written")).due is None
    clock.advance(DAY)
    assert await fire(backend, clock) is None
    assert len(await ids(backend)) == 2


@pytest.mark.parametrize(("catch_up", "jobs", "skipped"), [("one", 1, 9), ("all", 10, 0), ("none", 0, 10)])
async def test_what_was_missed_while_no_host_ran(
    backend: Backend, clock: TurnedClock, catch_up: Any, jobs: int, skipped: int
) -> None:
    """C5: after downtime."""
    start = clock.now
    await put(backend, clock, catch_up=catch_up)
    clock.advance(10 * MINUTE + MINUTE // 2 + 10 * SECOND)
    log = Recorder()
    assert await fire(backend, clock, log) == start + 11 * MINUTE
    assert len(await ids(backend)) == jobs
    assert (await there(backend)).skipped == skipped
    assert [said["ticks"] for said in log.of("schedule.skipped")] == ([skipped] if skipped else [])
    clock.advance(20 * SECOND)
    await fire(backend, clock)
    assert len(await ids(backend)) == jobs + 1  # on time again


@pytest.mark.parametrize("overlap", ["allow", "skip", "replace"])
async def test_a_tick_while_the_job_before_has_not_ended(backend: Backend, clock: TurnedClock, overlap: Any) -> None:
    """C5: overlap."""
    await put(backend, clock, overlap=overlap)
    clock.advance(MINUTE)
    await fire(backend, clock)
    running = await claim_one(backend)
    clock.advance(MINUTE)
    await fire(backend, clock)
    assert len(await ids(backend)) == (1 if overlap == "skip" else 2)
    assert (await job_of(backend, running.job.id)).cancel_requested == (overlap == "replace")
    clock.advance(MINUTE)
    await fire(backend, clock)
    states = Counter([(await job_of(backend, id)).state for id in await ids(backend)])
    assert (
        states
        == {
            "allow": {"active": 1, "waiting": 2},
            "skip": {"active": 1},
            "replace": {"active": 1, "failed": 1, "waiting": 1},
        }[overlap]
    )
    await backend.settle([completed(running)])
    clock.advance(MINUTE)
    await fire(backend, clock)
    assert len(await ids(backend)) == {"allow": 4, "skip": 2, "replace": 4}[overlap]
    assert (await there(backend)).skipped == (2 if overlap == "skip" else 0)


async def test_jitter_is_the_same_for_every_host_and_within_its_bounds(backend: Backend, clock: TurnedClock) -> None:
    """C5: jitter."""
    start = clock.now
    schedule = await put(backend, clock, every_ms=HOUR, jitter_ms=10 * MINUTE)
    dues = [schedule.due_of(start + number * HOUR) - start - number * HOUR for number in range(1, 200)]
    assert min(dues) >= 0
    assert 9 * MINUTE < max(dues) < 10 * MINUTE
    assert len(set(dues)) > 190
    assert schedule.due == schedule.due_of(start + HOUR)
    clock.advance((schedule.due or 0) - start - 1)
    await fire(backend, clock)
    assert await ids(backend) == []
    clock.advance(1)
    await fire(backend, clock)
    assert await ids(backend) == [f"repeat:s:{start + HOUR}"]


async def test_a_paused_schedule_gives_nothing_and_makes_up_for_nothing(backend: Backend, clock: TurnedClock) -> None:
    """C5: pause."""
    start = clock.now
    schedule = await put(backend, clock, catch_up="all")
    await backend.put_schedule(resumed(schedule, True, clock.now))
    clock.advance(10 * MINUTE)
    assert await fire(backend, clock) is None
    await backend.put_schedule(resumed(await there(backend), False, clock.now))
    assert await fire(backend, clock) == start + 11 * MINUTE
    assert await ids(backend) == []
    clock.advance(MINUTE)
    await fire(backend, clock)
    assert len(await ids(backend)) == 1


async def test_a_schedule_is_listed_changed_and_removed(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """C5: list, change, remove."""
    await put(backend, clock, "b")
    await put(backend, clock, "a", cron="0 7 * * *", tz="Europe/Berlin", data='"ä"')
    assert [schedule.id for schedule in await other.schedules()] == ["a", "b"]
    assert (await there(other, "a")).data == '"ä"'
    clock.advance(MINUTE)
    await fire(backend, clock)
    before = await there(backend, "b")
    same = begun(Schedule("b", "report", every_ms=MINUTE), clock.now + 7, before)
    assert same == before
    changed = begun(replace(before, every_ms=HOUR), clock.now + 7, before)
    assert (changed.tick, changed.runs) == (clock.now + 7 + HOUR, 1)
    assert await other.remove_schedule("b")
    assert not await backend.remove_schedule("b")
    assert await backend.schedule("b") is None
    clock.advance(2 * MINUTE)
    await fire(backend, clock)
    assert len(await ids(backend)) == 1


async def test_schedules_of_a_configuration_follow_it(backend: Backend, clock: TurnedClock) -> None:
    """C5: in jobhost.toml: new, changed, gone; those of others and by hand are left alone, and so is a pause."""
    log = Recorder()
    written = [
        Schedule("a", "report", every_ms=MINUTE, source="config:1"),
        Schedule("b", "x", cron="* * * * *", source="config:1"),
    ]
    await put(backend, clock, "by-hand")
    await put(backend, clock, "other", source="config:2")
    await take_in(backend, written, "config:1", clock.now, log)
    await backend.put_schedule(resumed(await there(backend, "a"), True, clock.now))
    await take_in(backend, written[:1], "config:1", clock.now + 5, log)
    assert [schedule.id for schedule in await backend.schedules()] == ["a", "by-hand", "other"]
    assert (await there(backend, "a")).paused
    assert [said["schedule"] for said in log.of("schedule.put")] == ["a", "b"]
    assert [said["schedule"] for said in log.of("schedule.removed")] == ["b"]


async def test_a_clock_that_jumps_doubles_nothing(backend: Backend, clock: TurnedClock) -> None:
    """C5: back: nothing comes until it is time again; forward: as after downtime."""
    await put(backend, clock, every_ms=MINUTE)
    for _ in range(3):
        clock.advance(MINUTE)
        await fire(backend, clock)
    assert len(await ids(backend)) == 3
    clock.now -= 2 * MINUTE
    for _ in range(2):
        await fire(backend, clock)
        clock.now += MINUTE
    assert len(await ids(backend)) == 3
    clock.advance(DAY)
    await fire(backend, clock)
    assert len(await ids(backend)) == 4


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_each_second_of_a_day(backend: Backend, clock: TurnedClock) -> None:
    """C5: a schedule that fires every second, for a day of virtual time: each second once, none twice."""
    start = clock.now
    await put(backend, clock, every_ms=SECOND, catch_up="all")
    for _ in range(144):
        clock.now += 10 * MINUTE  # nothing here has a time to live that would have to pass
        await fire(backend, clock)
    schedule = await there(backend)
    assert (schedule.runs, schedule.skipped, schedule.tick) == (86_400, 0, start + DAY + SECOND)
    assert (await backend.counts("default"))["waiting"] == 86_400
    first = await claim(backend, 1_000)
    assert [one.job.id for one in first] == [f"repeat:s:{start + number * SECOND}" for number in range(1, 1_001)]


@pytest.mark.long
async def test_ten_thousand_schedules(backend: Backend, clock: TurnedClock) -> None:
    start = clock.now
    for number in range(10_000):
        await put(backend, clock, f"s{number}", every_ms=HOUR + number)
    assert (await backend.due_schedules(10)) == ([], start + HOUR)
    clock.advance(HOUR + 99)
    assert await fire(backend, clock) == start + HOUR + 100
    assert len(await ids(backend, limit=1_000)) == 100
