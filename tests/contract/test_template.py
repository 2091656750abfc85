"""`reuse = "never"` at level `process`: children that one loaded process has forked."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes import template

from tests.wire.driver import VERSIONS, interpreter

from .functions import Recorder
from .hosting import PATIENCE, Hosted, error_of, hosted, result_of
from .test_children import gone, pool_of

pytestmark = pytest.mark.anyio
LOADED = """
import os, random, sys, threading
{more}
print("loading", flush=False)
open({marks!r}, "a").write("loaded by %d\\n" % os.getpid())
count = 0


def setup(ctx):
    open({marks!r}, "a").write("set up in %d\\n" % os.getpid())


{word}def handler(job, ctx):
    global count
    count += 1
    if job.data == "raise":
        raise LookupError("from a fork")
    if job.data == "exit":
        os._exit(3)
    if job.data == "killed":
        os.kill(os.getpid(), 9)
    if job.data == "hang":
        ctx.logger.info("hangs")
        while True:
            pass
    return {{
        "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "count": count, "random": random.random(),
        "threads": threading.active_count(),
    }}
"""


def bundle_of(folder: Path, more: str = "", word: str = "", **pool: Any) -> tuple[dict[str, Any], Path]:
    """A bundle, and the file in which it marks each loading and each setup."""
    marks = folder / "marks"
    (folder / "b").mkdir()
    (folder / "b" / "work.py").write_text(LOADED.format(more=more, word=word, marks=str(marks)))
    pool = {"children": 2, "reuse": "never", **pool}
    return {"path": folder / "b", "pool": pool, "limits": {"grace": "100ms"}}, marks


def loads(marks: Path) -> int:
    return marks.read_text().count("loaded")


def template_of(host: Hosted) -> int:
    pid = pool_of(host).template
    assert pid is not None
    return pid


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("word", ["", "async "])
async def test_each_run_has_a_fork_of_its_own_of_a_bundle_that_was_loaded_once(
    word: str, version: str, tmp_path: Path
) -> None:
    """D1, G2. Nothing is left over from the last run; each fork is the host's own child and is set up for itself."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"NO PYTHON {version} ON THIS MACHINE: a template is not tested on it")
    table, marks = bundle_of(tmp_path, word=word)
    table["python"] = python
    log = Recorder()
    async with hosted(MemoryBackend(), table, log=log) as host:
        jobs = [await host.run("work", n) for n in range(6)]
        found = [result_of(job) for job in jobs]
        assert len({one["pid"] for one in found}) == len(found)
        assert len({one["random"] for one in found}) == len(found), "each is seeded anew"
        assert [one["count"] for one in found] == [1] * len(found)
        assert {one["parent"] for one in found} == {os.getpid()}
        assert all(one["session"] == one["pid"] for one in found)
        assert template_of(host) not in {one["pid"] for one in found}
        assert loads(marks) == 1
        for one in found:
            assert f"set up in {one['pid']}\n" in marks.read_text()
            await gone(one["pid"])
        said = [line["text"] for line in log.of("child.output")]
        assert said.count("loading") == 1, "what loading prints is said once, and not by each fork again"


async def test_a_fork_fails_and_is_stopped_like_any_child(tmp_path: Path) -> None:
    """Rows: raises; timeout; child killed or exits. With the code or signal, and where a run hung."""
    table, _ = bundle_of(tmp_path)
    async with hosted(MemoryBackend(), table) as host:
        error = error_of(await host.run("work", "raise", attempts=1))
        assert (error["type"], error["message"], error["origin"]) == ("LookupError", "from a fork", "handler")
        error = error_of(await host.run("work", "exit", attempts=1))
        assert (error["type"], error["message"].split("\n")[0]) == (
            "ChildDied",
            "the child exited with code 3 before the job was done",
        )
        error = error_of(await host.run("work", "killed", attempts=1))
        assert error["message"].startswith("the child was killed by SIGKILL")
        error = error_of(await host.run("work", "hang", attempts=1, timeout_ms=300))
        assert error["type"] == "TimeoutError"
        assert "in handler" in "\n".join(error["data"]["dossier"]["stacks"])
        assert result_of(await host.run("work", 1))["count"] == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "starts threads"),
        ("kept = open('/etc/hostname')", "keeps /etc/hostname open"),
        ("import socket; kept = socket.socket()", "keeps socket:"),
    ],
)
async def test_a_bundle_that_can_not_be_forked_is_started_anew_for_each_run(
    more: str, why: str, tmp_path: Path
) -> None:
    """Threads would be missing in a fork, and a connection would be shared by all: said once, and done the slow way."""
    table, marks = bundle_of(tmp_path, more)
    log = Recorder()
    async with hosted(MemoryBackend(), table, log=log) as host:
        found = [result_of(await host.run("work", n)) for n in range(3)]
        assert len({one["pid"] for one in found}) == 3
        assert pool_of(host).template is None
        assert loads(marks) > 3
        said = [line["text"] for line in log.of("child.output") if "can't be forked" in line["text"]]
        assert len(said) == 1
        assert why in said[0]


async def test_a_template_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """Fault: also with jobs in the queue; none of them uses an attempt for it."""
    table, marks = bundle_of(tmp_path)
    async with hosted(MemoryBackend(), table) as host:
        await host.run("work", 1)
        first = template_of(host)
        ids = [await host.add("work", n, attempts=1) for n in range(20)]
        os.kill(first, signal.SIGKILL)
        for id in ids:
            assert result_of(await host.done(id))["count"] == 1
        await gone(first)
        assert template_of(host) != first
        assert loads(marks) == 2


@pytest.mark.parametrize("who", ["a stranger", "another child"])
async def test_a_template_that_names_a_process_that_is_not_its_fork_gets_no_one_killed(
    who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's code has run in it. Fault: the answer is not trusted; the template is started again."""
    table, _ = bundle_of(tmp_path)
    exactly = template._exactly
    async with hosted(MemoryBackend(), table) as host:
        await host.run("work", 1)
        named = 1 if who == "a stranger" else pool_of(host).children[0].pid

        async def lies(wire: socket.socket, count: int) -> bytes:
            monkeypatch.setattr(template, "_exactly", exactly)
            await exactly(wire, count)
            return named.to_bytes(count, "little")

        first = template_of(host)
        monkeypatch.setattr(template, "_exactly", lies)
        for n in range(6):
            assert result_of(await host.run("work", n, attempts=1))["count"] == 1
        await gone(first)
        assert os.path.exists("/proc/1")


async def test_a_template_that_ends_while_it_loads_is_said_and_its_jobs_wait(tmp_path: Path) -> None:
    """A bundle that dies while it loads: no attempt is used; once it loads its jobs run."""
    flag = tmp_path / "flag"
    flag.touch()
    table, _ = bundle_of(tmp_path, f"if os.path.exists({str(flag)!r}): print('no license', flush=True); os._exit(4)")
    log = Recorder()
    async with hosted(MemoryBackend(), table, log=log) as host:
        id = await host.add("work", 1, attempts=1)
        [said] = [fields["error"] for fields in log.of("bundle.start_failed")][:1]
        assert "ended while it loaded" in said
        assert "no license" in said
        flag.unlink()
        assert (await host.done(id)).attempts_made == 1
        assert result_of(await host.job(id))["count"] == 1


async def test_a_template_ends_with_its_host(tmp_path: Path) -> None:
    table, _ = bundle_of(tmp_path)
    async with hosted(MemoryBackend(), table) as host:
        await host.run("work", 1)
        pid = template_of(host)
        spares = [child.pid for child in pool_of(host).children]
    for each in [pid, *spares]:
        await gone(each)


async def test_hundreds_of_forks_leave_nothing(tmp_path: Path) -> None:
    """No zombie, no descriptor in the host; one that was left in the template would be in each later fork."""
    table, _ = bundle_of(tmp_path, "def fds(): return len(os.listdir('/proc/self/fd'))")
    file = tmp_path / "b" / "work.py"
    file.write_text(file.read_text().replace('"count": count', '"count": fds()'))
    async with hosted(MemoryBackend(), table) as host:
        first = result_of(await host.run("work", 0))["count"]
        before = await at_rest(host)
        ids = [await host.add("work", n) for n in range(300)]
        counts = {result_of(await host.done(id))["count"] for id in ids}
        assert counts == {first}
        with anyio.fail_after(PATIENCE):
            while await at_rest(host) != before:
                await anyio.sleep(0.01)


async def at_rest(host: Hosted) -> int:
    """How many descriptors this process has when nothing runs, beside the three of each child that stands ready and those of control
    groups, which are kept for later children."""
    pool = pool_of(host)
    with anyio.fail_after(PATIENCE):
        while len(pool.children) < 2 or pool._tasks or any(child.runs_taken for child in pool.children):
            await anyio.sleep(0.01)
    kinds = [os.readlink(link.path) for link in os.scandir("/proc/self/fd") if os.path.lexists(link.path)]
    return len([kind for kind in kinds if "eventfd" not in kind]) - 3 * len(pool.children)


async def test_a_child_that_says_goodbye_when_its_host_stops_is_ended_too(tmp_path: Path) -> None:
    """Its run has ended, its teardown goes on: it is nobody's any more, and must not be left to itself."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    table, _ = bundle_of(tmp_path, f"def teardown(ctx): open({str(gate)!r}).read()")
    async with hosted(MemoryBackend(), table) as host:
        pid = result_of(await host.run("work"))["pid"]
        writer = await anyio.to_thread.run_sync(lambda: os.open(gate, os.O_WRONLY))  # its teardown has begun
    try:
        await gone(pid)
    finally:
        os.close(writer)
