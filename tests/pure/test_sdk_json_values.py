"""The user's values: what JSON carries passes unchanged, anything else is refused with its path."""

from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from datetime import datetime, timezone
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobhost_sdk.errors import InvalidValueError, UnrecoverableError
from jobhost_sdk.json_values import MAX_DEPTH, MAX_SAFE, decode, encode, encode_lossy

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE, MAX_SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)
Point = namedtuple("Point", "x y")


class Level(IntEnum):
    LOW = 1


@given(VALUES)
def test_json_values_come_back_equal(value: Any) -> None:
    data = encode(value, "result")
    assert repr(decode(data)) == repr(value)
    assert json.loads(data) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, (2,)), "[1,[2]]"),
        (Point(1, 2), "[1,2]"),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        ([Level.LOW], "[1]"),
        ("héllo 🌍", '"héllo 🌍"'),
        (MAX_SAFE, "9007199254740991"),
        ({"": None}, '{"":null}'),
    ],
)
def test_what_counts_as_json(value: Any, text: str) -> None:
    """Tuples are lists; subclasses of what JSON has are what they extend."""
    assert encode(value, "result").decode() == text


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no")


CYCLE: list[Any] = []
CYCLE.append({"again": CYCLE})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"items": [0, 1, 2, {"when": datetime(2026, 1, 1, tzinfo=timezone.utc)}]},  # noqa: UP017
            "result.items[3].when: datetime is not a JSON value",
        ),
        ({"a": {1: 2}}, "result.a: the key 1 is not a string"),
        ({"a": {None: 2}}, "result.a: the key None is not a string"),
        ([{True: 2}], "result[0]: the key True is not a string"),
        ([{Odd(): 2}], "result[0]: the key <Odd> is not a string"),
        ({"a": float("nan")}, "result.a: nan is not a JSON value"),
        ([float("-inf")], "result[0]: -inf is not a JSON value"),
        (MAX_SAFE + 1, "result: an integer beyond ±(2^53-1) is not a JSON value"),
        ([-MAX_SAFE - 1], "result[0]: an integer beyond ±(2^53-1) is not a JSON value"),
        (10**5000, "result: an integer beyond ±(2^53-1) is not a JSON value"),
        ({"a": "\ud800"}, "result.a: a lone surrogate is not a JSON value"),
        ({"a\udfff": 1}, "result: a key: a lone surrogate is not a JSON value"),
        ({1, 2}, "result: set is not a JSON value"),
        (b"bytes", "result: bytes is not a JSON value"),
        ([object], "result[0]: type is not a JSON value"),
        (CYCLE, "result[0].again: contains itself"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_what_json_lacks_is_refused_with_its_path(value: Any, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        encode(value, "result")
    assert str(caught.value) == message
    assert isinstance(caught.value, UnrecoverableError)  # another attempt would return it again


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5000, 200_000])
def test_depth_bombs_fail_cleanly(depth: int) -> None:
    value: Any = None
    for _ in range(depth):
        value = [value]
    with pytest.raises(InvalidValueError, match="nests over 200 deep"):
        encode(value, "result")
    while value is not None:  # take it apart: its destructor would recurse
        value = value[0]


def test_the_deepest_value_passes() -> None:
    value: Any = None
    for _ in range(MAX_DEPTH):
        value = {"a": value}
    assert decode(encode(value, "result")) == value


def test_a_value_that_is_held_twice_is_no_cycle() -> None:
    twice = [Level.LOW]
    assert encode({"a": twice, "b": twice}, "result") == b'{"a":[1],"b":[1]}'


@pytest.mark.parametrize(
    "text", ["", " ", "[1", "nul", '{"a":}', "[1] 2", "\x00", "NaN", "[Infinity]", "-Infinity", '"\n"', "[" * 100_000]
)
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text.encode())


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(ValueError):
        decode(b'"\xff"')


@pytest.mark.parametrize("text", [" [1]\n", "\t1 ", "\r\n{}"])
def test_space_around_a_value_is_allowed(text: str) -> None:
    assert decode(text.encode()) == json.loads(text)


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON, though json takes it")


@given(st.text(max_size=30) | st.sampled_from(["NaN", "[Infinity]", '{"a":-Infinity}']))
def test_decode_agrees_with_json(text: str) -> None:
    try:
        want = json.loads(text, parse_constant=no_constant)
    except ValueError:
        with pytest.raises(ValueError):
            decode(text.encode(errors="replace"))
    else:
        assert repr(decode(text.encode())) == repr(want)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ({"when": object}, {"when": "<class 'object'>"}),
        ({"a": {1: float("nan")}}, {"a": {"1": "nan"}}),
        ({"s": {3}}, {"s": [3]}),
        (
            {"bad": "\ud800", "n": 10**20, "ok": [1, None, True]},
            {"bad": "?", "n": "1" + "0" * 20, "ok": [1, None, True]},
        ),
        ({"odd": Odd()}, {"odd": "<Odd>"}),
    ],
)
def test_logs_take_anything(value: Any, want: Any) -> None:
    assert json.loads(encode_lossy(value)) == want


def test_logs_take_cycles() -> None:
    assert b"..." in encode_lossy(CYCLE)


def test_without_the_c_halves_the_same_values_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that lacks `_json`, such as PyPy."""
    import sys

    from jobhost_sdk import json_values

    monkeypatch.setitem(sys.modules, "_json", None)
    scan, encoder = json_values._scanner_and_encoder()
    monkeypatch.setattr(json_values, "_scan", scan)
    monkeypatch.setattr(json_values, "_encoder", encoder)
    assert encode({"a": [1, "é"]}, "result") == '{"a":[1,"é"]}'.encode()
    assert decode(b' {"a": [1.5]}') == {"a": [1.5]}
    with pytest.raises(InvalidValueError, match="nan"):
        encode(float("nan"), "result")
