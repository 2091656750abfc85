"""Several processes on one file: killed at any moment, racing for jobs, waking each other."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import anyio
import pytest
from jobhost.queues.job import Claim, NewJob
from jobhost.queues.sqlite import SqliteBackend

from tests.contract.backends import PATIENCE, Wakes, claim, claim_one, listening, opened

PROGRAMS = Path(__file__).with_name("sqlite_programs.py")

pytestmark = pytest.mark.anyio


def start(verb: str, file: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAMS), verb, str(file), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], kill: bool = False) -> str:
    """End a process and give what it said last."""
    if kill:
        process.send_signal(signal.SIGKILL)
    assert process.stdin is not None
    assert process.stdout is not None
    # Not `communicate`: that reads past what `readline` has taken into its buffer, and would lose it.
    process.stdin.close()
    rest = process.stdout.read()
    process.stdout.close()
    process.wait(60)
    return rest


def check_counts(file: Path) -> None:
    """The numbers kept beside the jobs are those of the jobs, and SQLite finds nothing wrong."""
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = [column[1] for column in db.execute("PRAGMA table_info(queues)")][3:]
        for queue, *counts in db.execute(f"SELECT name, {', '.join(names)} FROM queues"):
            there = Counter(state for (state,) in db.execute("SELECT state FROM jobs WHERE queue = ?", (queue,)))
            assert counts == [there[state] for state in range(len(counts))]
    db.close()


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Section 5 of the contract: whatever a process was doing when it died, what it was told was stored is stored."""
    file = tmp_path / "jobs.db"
    said: list[tuple[str, ...]] = []
    for n in range(6):
        process = start("churn", file, f"life-{n}")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(40 + 37 * n)]
        lines += [line for line in end(process, kill=True).splitlines(keepends=True) if line.endswith("\n")]
        said += [(f"life-{n}", *line.split()) for line in lines]
    check_counts(file)
    async with opened(SqliteBackend(file)) as backend:
        for _, what, id in said:
            if what != "counted":
                job = await backend.get("default", id)
                assert job is not None
                assert job.state == "completed" or what == "added"
        for life in {life for life, *_ in said}:
            last = max((int(count) for by, what, count in said if (by, what) == (life, "counted")), default=0)
            counted = await backend.state_get(life, "n")
            assert last <= int(counted or 0) <= last + 1
        assert {what for _, what, _ in said} == {"added", "completed", "counted"}


async def test_each_job_is_claimed_once_by_three_processes(tmp_path: Path) -> None:
    """D7: several hosts on one file."""
    file = tmp_path / "jobs.db"
    async with opened(SqliteBackend(file)) as backend:
        await backend.add([NewJob("a") for _ in range(2_000)])
        workers = [start("work", file, f"host-{n}") for n in range(3)]
        said = [await anyio.to_thread.run_sync(end, worker) for worker in workers]
        ran = Counter(id for text in said for id in text.split())
        assert ran == {str(n): 1 for n in range(1, 2_001)}
        assert (await backend.counts("default"))["completed"] == 50
    check_counts(file)


async def test_producers_in_several_processes_get_different_ids(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    producers = [start("produce", file, 300) for _ in range(3)]
    assert [end(producer) for producer in producers] == ["done\n"] * 3
    async with opened(SqliteBackend(file)) as backend:
        assert [one.job.id for one in await claim(backend, 1_000)] == [str(n) for n in range(1, 901)]
    check_counts(file)


async def test_a_producer_in_another_process_wakes_at_once(tmp_path: Path) -> None:
    """C3: the poll once a second is only the net below."""
    file = tmp_path / "jobs.db"
    async with opened(SqliteBackend(file)) as backend:
        wakes = Wakes()
        stop = backend.watch(["default"], wakes)
        producer = start("add", file)
        assert producer.stdin is not None
        assert producer.stdout is not None
        assert await anyio.to_thread.run_sync(producer.stdout.readline) == "ready\n"
        took = []
        for _ in range(20):
            wakes.queues.clear()
            producer.stdin.write("\n")
            producer.stdin.flush()
            claims: list[Claim] = []
            while not claims:  # a wake may be of what was claimed before: it says that something changed, not what
                await wakes.wait()
                claims = await claim(backend, 1)
            job = claims[0].job
            took.append(time.time_ns() - int(job.data))
        stop()
        end(producer)
    assert sorted(took)[10] < 250_000_000, "the bell was not heard: the poll did it"


async def test_a_job_of_another_process_can_be_cancelled(tmp_path: Path) -> None:
    """C6: cancel from anywhere."""
    file = tmp_path / "jobs.db"
    async with (
        opened(SqliteBackend(file)) as host,
        opened(SqliteBackend(file)) as person,
        listening(host.events(types=("cancel",))) as heard,
    ):
        await person.add([NewJob("a")])
        await claim_one(host)
        assert await person.cancel("default", "1") == "requested"
        assert (await heard.until("cancel"))[0].job_id == "1"


async def test_sockets_of_the_dead_are_cleared_away(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    bell = tmp_path / "jobs.db-bell"
    listener = start("listen", file)
    assert listener.stdout is not None
    listener.stdout.readline()
    assert {name.split(".")[0] for name in os.listdir(bell)} == {"wake", "events"}
    assert bell.stat().st_mode & 0o777 == 0o700
    end(listener, kill=True)
    assert len(os.listdir(bell)) == 2
    async with opened(SqliteBackend(file)) as backend:
        await backend.add([NewJob("a")])
        with anyio.fail_after(PATIENCE):
            while os.listdir(bell):
                await backend.add([NewJob("a")])


async def test_nothing_is_left_in_the_folder_by_those_who_close(tmp_path: Path) -> None:
    async with opened(SqliteBackend(tmp_path / "jobs.db")) as backend:
        backend.watch(["default"], lambda queue: None)
        assert len(os.listdir(tmp_path / "jobs.db-bell")) == 1
    assert os.listdir(tmp_path / "jobs.db-bell") == []


async def test_the_bell_works_under_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    file = tmp_path / ("deep" * 20) / ("folder" * 10) / "jobs.db"
    async with opened(SqliteBackend(file)) as host, opened(SqliteBackend(file)) as producer:
        wakes = Wakes()
        stop = host.watch(["default"], wakes)
        [name] = os.listdir(f"{file}-bell")
        assert len(f"{file}-bell/{name}") > 108
        await producer.add([NewJob("a")])
        with anyio.fail_after(0.9):
            await wakes.wait()
        stop()


async def test_without_a_bell_the_poll_wakes(tmp_path: Path) -> None:
    """The safety net: once a second a host sees that the file has changed."""
    file = tmp_path / "jobs.db"
    (tmp_path / "jobs.db-bell").write_text("in the way")
    async with opened(SqliteBackend(file)) as host, opened(SqliteBackend(file)) as producer:
        wakes = Wakes()
        stop = host.watch(["default"], wakes)
        await producer.add([NewJob("a")])
        assert await wakes.wait() == "default"
        stop()


async def test_a_listener_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    listener = start("listen", file)
    assert listener.stdout is not None
    listener.stdout.readline()
    listener.send_signal(signal.SIGSTOP)
    try:
        async with opened(SqliteBackend(file)) as backend:
            with anyio.fail_after(PATIENCE):
                for _ in range(50):
                    await backend.add([NewJob("a") for _ in range(100)])
    finally:
        listener.send_signal(signal.SIGCONT)
        end(listener, kill=True)


async def test_rubbish_at_the_bell_is_passed_over(tmp_path: Path) -> None:
    import socket

    file = tmp_path / "jobs.db"
    async with opened(SqliteBackend(file)) as host, opened(SqliteBackend(file)) as producer:
        wakes = Wakes()
        stop = host.watch(["default"], wakes)
        async with listening(host.events()) as heard:
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            for name in os.listdir(tmp_path / "jobs.db-bell"):
                for rubbish in (b"", b"\xff", b"[", b"[[1]]", b'[["waiting"]]', b'{"a":1}', b"[1]", b"[[1,2,3,4,5,6]]"):
                    sender.sendto(rubbish, str(tmp_path / "jobs.db-bell" / name))
            sender.close()
            await producer.add([NewJob("a")])
            await heard.until("waiting")
        assert heard.types == ["waiting"]
        stop()
