"""When ticks are: nights of changed clocks, intervals, and what cannot be."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobhost.queues.schedules import MOST_AT_ONCE, Schedule, begun, checked, dumped, firing, loaded, ticks

BERLIN = "Europe/Berlin"


def at(text: str, tz: str = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp() * 1000)


def shown(schedule: Schedule, after: int, count: int) -> list[str]:
    zone = ZoneInfo(schedule.tz or "UTC")
    return [
        f"{datetime.fromtimestamp(tick / 1000, zone):%m-%d %H:%M%z}" for tick in islice(ticks(schedule, after), count)
    ]


@pytest.mark.parametrize(
    ("cron", "tz", "after", "expected"),
    [
        # The hour from 2 to 3 is left out: its jobs come right after it.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        # The hour from 2 to 3 is twice: its jobs come once.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        # What follows real time comes in both of them.
        ("0 * * * *", BERLIN, "2026-10-25T01:30", ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"]),
        ("0 * * * *", BERLIN, "2026-03-29T00:30", ["03-29 01:00+0100", "03-29 03:00+0200"]),
        ("0 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00-0400", "03-09 02:00-0400"]),
        ("0 9 * * MON-FRI", "Asia/Kolkata", "2026-11-27T10:00", ["11-30 09:00+0530", "12-01 09:00+0530"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["02-29 00:00+0000"]),
    ],
)
def test_cron_follows_the_clock_on_the_wall(cron: str, tz: str, after: str, expected: list[str]) -> None:
    """C5: cron with a time zone, through nights of changed clocks."""
    assert shown(Schedule("s", "n", cron=cron, tz=tz), at(after, tz), len(expected)) == expected


@given(
    st.integers(at("2026-10-24T00:00"), at("2026-10-26T00:00")),
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 2-3 * * *"]),
)
def test_ticks_go_up_and_are_the_same_from_wherever_they_are_asked(after: int, cron: str) -> None:
    schedule = Schedule("s", "n", cron=cron, tz=BERLIN)
    found = list(islice(ticks(schedule, after), 5))
    assert found[0] > after
    assert all(first < second for first, second in pairwise(found))
    for first, second in pairwise(found):
        assert next(ticks(schedule, first)) == second


@given(st.integers(0, 2**41), st.integers(100, 10**10), st.integers(0, 2**41))
def test_intervals_keep_their_phase(anchor: int, every: int, after: int) -> None:
    first, second = islice(ticks(Schedule("s", "n", every_ms=every, anchor=anchor), after), 2)
    assert after < first
    assert (first - anchor) % every == 0
    assert first >= anchor
    assert second - first == every


def test_seconds_are_an_optional_first_field() -> None:
    schedule = Schedule("s", "n", cron="*/15 * * * * *")
    assert list(islice(ticks(schedule, 0), 3)) == [15_000, 30_000, 45_000]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "one of cron, every and at; this one has none"),
        ({"cron": "* * * * *", "every_ms": 1_000}, "has cron and every"),
        ({"cron": "every day"}, "is no cron expression"),
        ({"cron": "61 * * * *"}, "is no cron expression"),
        ({"cron": "* * * * *", "tz": "Europe/Nowhere"}, "is no time zone; write one such as Europe/Berlin"),
        ({"cron": "* * * * *", "tz": "../../etc/passwd"}, "is no time zone"),
        ({"every_ms": 1_000, "tz": BERLIN}, "tz goes with cron"),
        ({"every_ms": 50}, "every is 100 ms or more"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        checked(Schedule("s", "n", **options))  # type: ignore[arg-type]


def test_a_long_downtime_is_caught_up_in_parts() -> None:
    schedule = begun(Schedule("s", "n", every_ms=1_000, catch_up="all"), 0)
    now, jobs = 10_000_000, 0
    while (due := firing(schedule, now)) is not None:
        assert len(due.jobs) <= MOST_AT_ONCE
        jobs += len(due.jobs)
        schedule = due.schedule
    assert jobs == 10_000
    assert schedule.tick == now + 1_000


def test_a_stored_schedule_comes_back_and_strangers_in_it_are_ignored() -> None:
    schedule = begun(
        Schedule("s", "n", cron="0 7 * * *", tz=BERLIN, data='{"a":"ä"}', overlap="skip"), 1_700_000_000_000
    )
    assert loaded(dumped(schedule)) == schedule
    assert loaded(dumped(schedule).replace(b'"id":', b'"from_later":1,"id":')) == schedule
