"""What the statements that run for each job cost does not grow with the number of jobs: they walk an index and sort nothing.

The server plans them here as it does in a host: with the host's settings, for values that it does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psycopg
import pytest
from jobhost.queues.postgres import (
    adding,
    claiming,
    deleting,
    flows,
    keys,
    logs,
    looking,
    schedules,
    settling,
    state,
    steering,
    transaction,
)
from jobhost.queues.postgres.address import address_of
from jobhost.queues.postgres.link import Link

from tests.postgres_server import fresh_url

KINDS = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
BLANKS = {
    "_TAKE": (claiming._FIRST, claiming._CHOSEN),
    "_DELETE": (deleting._TOO_MANY, deleting._TOO_OLD, deleting._STILL_THERE),
    "_MERGE": ("queue = %s",),
}
LOOKS = {"looking._NEWEST", "looking._EVERYWHERE"}
"""Read by people, and not for each job: they sort a page."""
FEW = {"counts", "keys", "queues", "schedules", "subscriptions", "hosts"}
"""Tables that have a row for each queue and host, not for each job."""
MODULES = (adding, claiming, deleting, flows, keys, logs, looking, schedules, settling, state, steering, transaction)


def statements(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, text in vars(module).items():
        if name.isupper() and isinstance(text, str) and text.startswith(KINDS):
            for blank in BLANKS.get(name, ("",)):
                yield f"{module.__name__.rsplit('.')[-1]}.{name}", text.format(blank) if "{}" in text else text


ALL = list(dict.fromkeys(pair for module in MODULES for pair in statements(module)))


@pytest.fixture(scope="module")
def db() -> Iterator[psycopg.Connection]:
    link = Link(address_of(fresh_url()))
    yield link.connection()
    link.close()


def numbered(text: str) -> str:
    """With places as the server writes them. Those of a length have a type only there."""
    count = iter(range(1, 100))
    return re.sub("%s", lambda _: f"${next(count)}", text)


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from steps(below)


@pytest.mark.parametrize(("name", "text"), ALL, ids=[f"{name}-{n}" for n, (name, _) in enumerate(ALL)])
def test_a_statement_walks_an_index(db: psycopg.Connection, name: str, text: str) -> None:
    explain = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(text)}"
    [(plans,)] = db.execute(explain.encode(), prepare=False).fetchall()
    found = list(steps(plans[0]["Plan"]))
    walked = [step for step in found if step["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")]
    assert [step for step in walked if step["Relation Name"] not in FEW] == [], json.dumps(plans, indent=1)
    sorts = [step for step in found if "Sort" in step["Node Type"]]
    assert name in LOOKS or sorts == [], json.dumps(plans, indent=1)
    whole = [step for step in found if "Index" in step["Node Type"] and "Index Cond" not in step]
    assert [step for step in whole if step["Relation Name"] not in FEW and name not in LOOKS] == [], json.dumps(
        plans, indent=1
    )


def test_all_statements_were_looked_at() -> None:
    assert len(ALL) > 40
