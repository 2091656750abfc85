"""What the statements that run for each job cost does not grow with the number of jobs: they walk an index and sort nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from jobhost.queues.sqlite import (
    adding,
    claiming,
    deleting,
    flows,
    keys,
    looking,
    schedules,
    settling,
    state,
    steering,
)
from jobhost.queues.sqlite.schema import connect_writer

KINDS = ("SELECT", "UPDATE", "DELETE", "INSERT")
BLANKS = {
    "_TAKE": (claiming._FIRST, claiming._CHOSEN),
    "_DELETE": (deleting._TOO_MANY, deleting._TOO_OLD, deleting._GIVEN),
    "_STILL_THERE": ("0, 1",),
}


def statements(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, text in vars(module).items():
        if name.startswith("_") and isinstance(text, str) and text.startswith(KINDS):
            for blank in BLANKS.get(name, ("",)):
                yield f"{module.__name__.rsplit('.')[-1]}.{name}", text.format(blank) if "{}" in text else text


MODULES = (adding, claiming, deleting, flows, keys, looking, schedules, settling, state, steering)
ALL = [pair for module in MODULES for pair in statements(module)]


NO_TABLE = re.compile(r"json_each|CONSTANT ROW|subquery")
"""What may be walked whole: the values that were given, and what a subquery gives, whose own walk is another step."""


def values(text: str) -> list[None]:
    """As many as a statement has places for; places may be numbered."""
    last = 0
    for number in re.findall(r"\?(\d*)", text):
        last = max(last, int(number)) if number else last + 1
    return [None] * last


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    file: Path = tmp_path_factory.mktemp("plans") / "jobs.db"
    with closing(connect_writer(file, 100)) as connection:
        yield connection


@pytest.mark.parametrize(("name", "text"), ALL, ids=[f"{name}-{n}" for n, (name, _) in enumerate(ALL)])
def test_a_statement_walks_an_index(db: sqlite3.Connection, name: str, text: str) -> None:
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}", values(text))]
    slow = [
        step for step in plan if step.startswith("USE TEMP") or (step.startswith("SCAN") and not NO_TABLE.search(step))
    ]
    assert slow == [], plan


def test_all_statements_were_looked_at() -> None:
    assert len(ALL) > 20
