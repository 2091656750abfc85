"""`jobhost dead` and `jobhost breakers`, run in this process on a SQLite file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobhost import Client
from jobhost.queues.job import HostInfo, NewJob

from .test_cli_verbs import _project, fails, jobhost, out, parsed, settle, with_backend

__all__ = ["_project"]
CONFIG = '[queues.orders]\ndead_letter = "orders.dead"\n'


def die(count: int = 1, name: str = "pay", error: str = "ConnectionError") -> None:
    """Let jobs of queue `orders` fail for good."""
    told = json.dumps({"type": error, "message": "no \x1b[2Jluck", "stack": "in pay.py", "origin": "handler"}).encode()

    async def add(jobs: Client) -> None:
        await jobs.backend.add([NewJob(name, b'{"amount":0}', "orders") for _ in range(count)])

    with_backend(add)
    for _ in range(count):
        settle("failed", "orders", error=told, dead_letter="orders.dead")


@pytest.fixture
def letters(tmp_path: Any) -> None:
    (tmp_path / "jobhost.toml").write_text(CONFIG)
    die(2)
    die(1, "mail", "ValueError")


@pytest.mark.usefixtures("letters")
def test_letters_are_listed_and_filtered() -> None:
    """G3: dead list, with filters."""
    lines = out("dead", "list").splitlines()
    assert lines[0].split() == ["ID", "QUEUE", "NAME", "FROM", "TRIED", "FAILED", "REPLAYED", "ERROR"]
    assert len(lines) == 4
    assert "\x1b" not in "".join(lines)
    assert [letter["name"] for letter in parsed("dead", "list", "--json")] == ["mail", "pay", "pay"]
    assert len(parsed("dead", "list", "--error", "ValueError", "--json")) == 1
    assert len(parsed("dead", "list", "--name", "pay", "--limit", "1", "--json")) == 1
    assert parsed("dead", "list", "--from", "elsewhere", "--json") == []
    assert parsed("dead", "list", "--older-than", "1h", "--json") == []
    assert len(parsed("dead", "list", "--newer-than", "1h", "--json")) == 3
    assert "'1 hour'" in fails(2, "dead", "list", "--older-than", "1 hour")


@pytest.mark.usefixtures("letters")
def test_one_letter_is_shown_whole() -> None:
    """G3: dead show."""
    text = out("dead", "show", "1")
    assert "job       1 of queue orders" in text
    assert "ConnectionError: no" in text
    assert "in pay.py" in text
    assert "\x1b" not in text
    letter = parsed("dead", "show", "1", "--json")
    assert letter["origin"]["queue"] == "orders"
    assert (letter["data"], letter["replayed"]) == ({"amount": 0}, 0)
    assert "there is no dead letter '77' in orders.dead" in fails(1, "dead", "show", "77")


@pytest.mark.usefixtures("letters")
def test_a_letter_is_edited_and_replayed() -> None:
    """G3: dead edit, dead replay; the job runs again under its id, with the new data."""
    assert out("dead", "edit", "1", "--data", '{"amount": 4}') == "1\n"
    assert out("dead", "replay", "1") == "1\n"
    job = parsed("jobs", "show", "1", "-q", "orders", "--json")
    assert (job["state"], job["data"]) == ("waiting", {"amount": 4})
    assert job["metadata"]["replayed"]["times"] == 1
    assert "there is no dead letter '1'" in fails(1, "dead", "replay", "1")
    assert "takes 1,048,576 (max_payload)" in fails(2, "dead", "edit", "2", "--data", json.dumps("x" * 1_100_000))


@pytest.mark.usefixtures("letters")
def test_an_editor_may_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\necho '[1]' > \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    assert out("dead", "edit", "1") == "1\n"
    assert parsed("dead", "show", "1", "--json")["data"] == [1]


@pytest.mark.usefixtures("letters")
def test_many_letters_are_replayed_by_what_they_have_in_common() -> None:
    """G3: dead replay in bulk: which has to be said; a dry run changes nothing."""
    assert "say which letters" in fails(2, "dead", "replay")
    assert "say which letters" in fails(2, "dead", "replay", "1", "--all")
    assert sorted(out("dead", "replay", "--name", "pay", "--dry-run").split()) == ["1", "2"]
    assert out("dead", "replay", "--name", "pay") == "2\n"
    assert out("dead", "replay", "--all") == "1\n"
    assert parsed("dead", "list", "--json") == []


@pytest.mark.usefixtures("letters")
def test_a_job_that_was_retried_already_is_not_replayed() -> None:
    out("jobs", "retry", "1", "-q", "orders")
    result = jobhost("dead", "replay", "1", "2")
    assert (result.exit_code, result.stdout) == (1, "2\n")
    assert "job 1 of queue orders is not failed any more" in result.stderr
    result = jobhost("dead", "replay", "--name", "pay")
    assert (result.exit_code, result.stdout) == (1, "0\n")


@pytest.mark.usefixtures("letters")
def test_letters_are_purged() -> None:
    """G3: dead purge asks before it deletes many."""
    assert out("dead", "purge", "1") == "1\n"
    result = jobhost("dead", "purge", "--all", input="n\n")
    assert result.exit_code == 1
    assert "Delete 2 dead letters?" in result.stderr
    assert out("dead", "purge", "--all", "--yes") == "2\n"


def test_queues_of_letters_are_known_from_hosts_too() -> None:
    """G3: where the configuration names none."""
    die()
    assert "no queue of dead letters is known" in jobhost("dead", "list").stderr

    async def beat(jobs: Client) -> None:
        import time

        now = int(time.time() * 1000)
        await jobs.backend.heartbeat(HostInfo("h", now, now, b'{"dead_letters":["orders.dead"]}'))

    with_backend(beat)
    assert len(parsed("dead", "list", "--json")) == 1
    assert len(parsed("dead", "list", "-q", "orders.dead", "--json")) == 1


def test_breakers_are_listed_opened_and_closed() -> None:
    """G5: visible in the command line, and steered by it."""
    assert parsed("breakers", "list", "--json") == []
    assert out("breakers", "open", "stripe", "--for", "30m") == "stripe\n"
    [breaker] = parsed("breakers", "list", "--json")
    assert (breaker["name"], breaker["status"], breaker["reason"]) == ("stripe", "open", "opened by hand")
    assert "stripe" in out("breakers", "list").splitlines()[1]
    assert out("breakers", "close", "stripe") == "stripe\n"
    assert "breaker stripe is closed" in jobhost("breakers", "close", "stripe").stderr
