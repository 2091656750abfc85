"""What the statements that run for each job cost does not grow with the number of jobs: they walk an index and sort nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from jobhost.queues.sqlite import adding, claiming, deleting, looking, settling, state, steering
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


ALL = [
    pair for module in (adding, claiming, deleting, looking, settling, state, steering) for pair in statements(module)
]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    file: Path = tmp_path_factory.mktemp("plans") / "jobs.db"
    with closing(connect_writer(file, 100)) as connection:
        yield connection


@pytest.mark.parametrize(("name", "text"), ALL, ids=[f"{name}-{n}" for n, (name, _) in enumerate(ALL)])
def test_a_statement_walks_an_index(db: sqlite3.Connection, name: str, text: str) -> None:
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?"))]
    slow = [
        step for step in plan if step.startswith("USE TEMP") or (step.startswith("SCAN") and "json_each" not in step)
    ]
    assert slow == [], plan


def test_all_statements_were_looked_at() -> None:
    assert len(ALL) > 20
