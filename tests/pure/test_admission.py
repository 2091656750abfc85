"""Admission: what one claim may take, name by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from jobhost.queues.admission import Admission

names = st.sampled_from("abcde")
groups = st.lists(st.tuples(st.frozensets(names), st.integers(0, 3)), max_size=4)
others = st.none() | st.integers(0, 3)


def test_nobody_is_refused_by_an_admission_without_groups() -> None:
    admission = Admission()
    assert admission.covers(10**6)
    assert all(admission.take("anything") for _ in range(100))
    assert admission.exhausted() == frozenset()


def test_a_name_needs_a_place_in_each_of_its_groups() -> None:
    admission = Admission([(["a", "b"], 2), (["b"], 1)])
    assert [admission.take(name) for name in "baba"] == [True, True, False, False]
    assert admission.exhausted() == {"a", "b"}


def test_a_refused_name_takes_no_place_of_its_other_groups() -> None:
    admission = Admission([(["a"], 0), (["a", "b"], 1)])
    assert not admission.take("a")
    assert admission.take("b")


def test_names_of_no_group_share_the_others() -> None:
    admission = Admission([(["a"], 1)], others=2)
    assert [admission.take(name) for name in "xyza"] == [True, True, False, True]


def test_a_copy_counts_for_itself() -> None:
    admission = Admission([(["a"], 1)], others=1)
    copy = admission.copy()
    assert copy.take("a")
    assert copy.take("x")
    assert admission.admits("a")
    assert admission.admits("x")


@given(groups, others, st.lists(names, max_size=20))
def test_no_group_gives_more_than_its_places(
    groups: list[tuple[frozenset[str], int]], others: int | None, wanted: list[str]
) -> None:
    admission = Admission(groups, others)
    taken = []
    for name in wanted:
        admits = admission.admits(name)
        assert admission.take(name) == admits
        assert admits or name in admission.exhausted() or not any(name in group for group, _ in groups)
        taken += [name] * admits
    for group, places in groups:
        assert sum(name in group for name in taken) <= places
    if others is not None:
        assert sum(not any(name in group for group, _ in groups) for name in taken) <= others


@given(groups, others, st.integers(0, 5), st.lists(names, max_size=5))
def test_what_is_covered_is_never_refused(
    groups: list[tuple[frozenset[str], int]], others: int | None, count: int, wanted: list[str]
) -> None:
    admission = Admission(groups, others)
    if admission.covers(count):
        assert all(admission.take(name) for name in wanted[:count])


@given(groups, others, names, st.integers(0, 5))
def test_places_for_many_of_a_name_are_those_of_one_after_the_other(
    groups: list[tuple[frozenset[str], int]], others: int | None, name: str, count: int
) -> None:
    at_once, one_by_one = Admission(groups, others), Admission(groups, others)
    assert at_once.take_some(name, count) == sum(one_by_one.take(name) for _ in range(count))
    assert [at_once.admits(each) for each in "abcdex"] == [one_by_one.admits(each) for each in "abcdex"]
