"""What the command line prints: JSON that a terminal survives, tables that fit, times for people."""

import asyncio
import io
import json
import sys
import unicodedata
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobhost.cli.bar import Bar
from jobhost.cli.output import age, json_text, line_of, print_json_array, print_table

TERMINAL_OBEYS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x202E, 0x2066]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_means_what_it_meant_and_shows_no_control_character(text: str) -> None:
    """O1: what a child wrote is data; a terminal obeys none of it."""
    shown = json_text({"x": text})
    assert json.loads(shown) == {"x": text}
    assert not any(ord(char) in TERMINAL_OBEYS for char in shown)


@given(st.text())
def test_a_cell_is_one_harmless_line(text: str) -> None:
    """O1: control characters of children are stripped where people read."""
    assert not any(ord(char) in TERMINAL_OBEYS for char in line_of(text))


@given(st.lists(st.tuples(st.text(), st.integers(), st.text()), max_size=5), st.integers(40, 120))
def test_a_table_fits_its_terminal(rows: list[tuple[str, int, str]], columns: int) -> None:
    """C6: listings fit the width there is, with wide characters too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        terminal = Terminal()
        patch.setattr(sys, "stdout", terminal)
        print_table(("NAME", "NUMBER", "TEXT"), rows)
        lines = terminal.getvalue().splitlines()
    assert len(lines) == len(rows) + 1
    assert all(sum(not unicodedata.combining(char) for char in line) <= columns for line in lines)


def test_into_a_pipe_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """C6: what another program reads is whole."""
    print_table(("A", "B"), [("x" * 300, "y")])
    assert "x" * 300 in capsys.readouterr().out


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_array_is_printed_member_by_member(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """C6: --json is one array however many jobs there are."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    asyncio.run(print_json_array(numbers()))
    assert json.loads(capsys.readouterr().out) == list(range(count))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s ago"), (59, "59s ago"), (7_200, "2h ago"), (3 * 86_400, "3d ago"), (-300, "in 5m")]
)
def test_ages(seconds: int, text: str) -> None:
    """C6: how long ago, in one unit."""
    assert age((datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()) == text
    assert age(None) == "-"


def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """D5: numbers are a bar, objects a text; a pipe gets nothing."""
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        monkeypatch.setattr(sys, "stderr", stream)
        bar = Bar()
        bar.show(50)
        bar.show({"step": "b\x1b[31m"})
        bar.show(1_000)
        bar.clear()
    assert "[###############---------------]  50%" in terminal.getvalue()
    assert '50%  {"step": "b\\u001b[31m"}' in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert pipe.getvalue() == ""
