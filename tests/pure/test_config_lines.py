"""The scanner that finds the line of a key."""

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jobhost.config.lines import KeyPath, key_lines

DOCUMENT = '''\
# a comment = 1
title = "x" # [not.a.table]

[[bundles]]
path = """
three
[lines]
"""
pool = { children = 2, "idle time" = '1' }
[bundles.limits]
memory = "1GiB"

[[bundles]]
names = [
  "a", # first, with a ] bracket
  "b",
]
[queues."a.b"]
backoff.delay = "1s"
when = 1979-05-27 07:32:00
quotes = """a""\\""""
literal = \'\'\'x\'\'\'\'\'
last = -inf
'''


def test_every_kind_of_key() -> None:
    """B1: tables, arrays of tables, dotted, quoted and inline keys, and strings of many lines."""
    tomllib.loads(DOCUMENT)
    lines = key_lines(DOCUMENT)
    assert lines[("title",)] == 2
    assert lines[("bundles", 0)] == 4
    assert lines[("bundles", 0, "path")] == 5
    assert lines[("bundles", 0, "pool", "idle time")] == 9
    assert lines[("bundles", 0, "limits", "memory")] == 11
    assert lines[("bundles", 1)] == 13
    assert lines[("bundles", 1, "names", 1)] == 16
    assert lines[("queues", "a.b", "backoff", "delay")] == 19
    assert lines[("queues", "a.b", "last")] == 23


def test_an_empty_text_has_no_keys() -> None:
    """B1: the empty file is a valid one."""
    assert key_lines("") == {}
    assert key_lines("# only a comment") == {}


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), min_size=1, max_size=4)
SCALARS = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _inline(value: Any, draw: st.DataObject) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(k)} = {_inline(v, draw)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        gap = draw.draw(st.sampled_from(["", "\n", " # ]\n\n"]))
        return "[" + gap + ("," + gap).join(_inline(v, draw) for v in value) + gap + "]"
    if isinstance(value, str) and draw.draw(st.booleans()):
        return '"""\n' + _quoted(value)[1:-1] + '"""'
    return _quoted(value)


def _document(table: dict[str, Any], subtables: dict[str, Any], draw: st.DataObject) -> str:
    lines = [f"{_quoted(key)} = {_inline(value, draw)}" for key, value in table.items()]
    for name, members in subtables.items():
        for member in members if isinstance(members, list) else [members]:
            key = _quoted("t" + name)
            lines.append(f"[[{key}]] # x" if isinstance(members, list) else f"[ {key} ]")
            lines += [f"\t{_quoted(key)}= {_inline(value, draw)}" for key, value in member.items()]
    return draw.draw(st.sampled_from(["\n", "\n\n", "\r\n"])).join(lines)


def _paths(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    members = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return {(*at, key) for key, _ in members} | {path for key, inner in members for path in _paths(inner, (*at, key))}


@given(TABLES, st.dictionaries(KEYS, TABLES | st.lists(TABLES, min_size=1, max_size=2), max_size=3), st.data())
def test_it_finds_exactly_the_keys_that_tomllib_finds(
    table: dict[str, Any], subtables: dict[str, Any], data: st.DataObject
) -> None:
    """B1: any document: the same paths as the parser's, each on a line that holds its key."""
    table = {key: value for key, value in table.items() if not key.startswith("t")}
    text = _document(table, subtables, data)
    lines = key_lines(text)
    assert set(lines) == _paths(tomllib.loads(text))
    rows = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert _quoted(path[-1]) in rows[line - 1]
