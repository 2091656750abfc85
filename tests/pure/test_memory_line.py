"""The line of waiting jobs of the memory backend."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from jobhost.queues.memory.line import SWEEP, Line
from jobhost.queues.memory.record import Record


def record(priority: int, rank: int) -> Record:
    return Record(str(rank), "q", "a", b"", "waiting", priority, 0, rank=rank, seq=abs(rank))


places = st.lists(st.tuples(st.integers(0, 2), st.integers(-50, 50)), unique=True, max_size=60)


@given(places, st.sets(st.integers(0, 59)), st.integers(1, 7))
def test_jobs_leave_by_priority_then_rank_without_those_that_left_from_the_middle(
    places: list[tuple[int, int]], gone: set[int], batch: int
) -> None:
    line = Line()
    records = [record(priority, rank) for priority, rank in places]
    for one in records:
        line.push(one)
    for index in gone & set(range(len(records))):
        records[index].state = "failed"
        line.discard()
    expected = sorted((one.priority, one.rank) for one in records if one.state == "waiting")
    assert bool(line) == bool(expected)
    left: list[Record] = []
    while taken := line.take(batch):
        left += taken
    assert [(one.priority, one.rank) for one in left] == expected
    assert all(one.state == "active" for one in left)
    assert line.peek() is None
    assert line.pop() is None


@given(places)
def test_peek_shows_what_pop_gives(places: list[tuple[int, int]]) -> None:
    line = Line()
    for priority, rank in places:
        line.push(record(priority, rank))
    for _ in places:
        head = line.peek()
        popped = line.pop()
        assert head is not None
        assert popped is head[2]
        popped.state = "active"


def test_a_job_that_left_and_came_back_is_taken_once() -> None:
    line = Line()
    one = record(0, 1)
    line.push(one)
    line.discard()
    line.push(one)
    assert line.take(9) == [one]
    assert not line


def test_the_entries_of_jobs_that_left_do_not_pile_up() -> None:
    """A producer that adds and cancels for ever must not fill the memory."""
    line = Line()
    for rank in range(10_000):
        one = record(rank % 2, rank)
        line.push(one)
        one.state = "failed"
        line.discard()
    assert len(line._run) + len(line._heap) <= 2 * SWEEP + 2
