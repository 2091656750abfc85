"""Pools of children: starts that fail, places ahead, processes below a child, and its memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes import backoff, memory
from jobhost_runtimes.child import Child
from jobhost_runtimes.isolation import cgroups
from jobhost_runtimes.strays import descendants
from jobhost_sdk.wire.peer import Response

from .functions import Recorder
from .hosting import PATIENCE, bundle, error_of, hosted, result_of
from .test_children import gone, pool_of

pytestmark = pytest.mark.anyio

FRAIL = """
import os, sys
if os.path.exists({flag!r}):
    with open({flag!r}, "a") as file:
        file.write("x")
    print("the license server does not answer", file=sys.stderr, flush=True)
    os._exit(3)


def handler(job, ctx):
    if job.data == "die":
        os._exit(1)
    return os.getpid()
"""


def frail(folder: Path) -> tuple[dict[str, Any], Path]:
    """A bundle whose children start only where the flag is not there; the flag counts those that did not."""
    flag = folder / "flag"
    (folder / "bundle").mkdir()
    (folder / "bundle" / "frail.py").write_text(FRAIL.format(flag=str(flag)))
    return {"path": folder / "bundle", "pool": {"children": 1}}, flag


async def test_a_child_that_does_not_start_is_said_with_its_last_words_and_retried_with_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: not in a hot loop; jobs wait without using attempts, and run once a child starts."""
    monkeypatch.setattr(backoff, "FIRST", 0.05)
    table, flag = frail(tmp_path)
    log = Recorder()
    async with hosted(MemoryBackend(), table, log=log) as host:
        first = result_of(await host.run("frail"))
        flag.touch()
        await host.run("frail", "die", attempts=1)
        await gone(first)
        id = await host.add("frail")
        with anyio.fail_after(PATIENCE):
            while len(flag.read_text()) < 3:
                await anyio.sleep(0.01)
        tries = len(flag.read_text())
        waiting = await host.job(id)
        assert (waiting.attempts_made, waiting.child_deaths, waiting.error) == (0, 0, None)
        began = anyio.current_time()
        flag.unlink()
        done = await host.done(id)
        assert result_of(done) != first
        assert done.attempts_made == 1
        assert anyio.current_time() - began < 0.05 * 2**tries + 5, "the pauses double from 50 ms"
        troubles = log.of("bundle.start_failed")
        assert len(troubles) == tries
        assert "the license server does not answer" in troubles[0]["error"]
        assert "did not start" in troubles[0]["error"]


async def test_children_that_are_there_go_on_while_others_can_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed start takes places away that were hoped for, not those that there are."""
    monkeypatch.setattr(backoff, "FIRST", 1000.0)
    table, flag = frail(tmp_path)
    table["pool"] = {"children": 2}
    async with hosted(MemoryBackend(), table) as host:
        pid = result_of(await host.run("frail"))
        flag.touch()
        added = await host.backend.add([NewJob("frail") for _ in range(50)])
        assert {result_of(await host.done(one.id)) for one in added} == {pid}
        with anyio.fail_after(PATIENCE):
            while not flag.read_text():
                await host.run("frail")
        added = await host.backend.add([NewJob("frail") for _ in range(50)])
        assert {result_of(await host.done(one.id)) for one in added} == {pid}


ASYNC = {
    "python": ("where.py", "import os\nasync def handler(job, ctx):\n    return os.getpid()\n"),
    "node": ("where.js", "module.exports = async () => process.pid;\n"),
}


@pytest.mark.parametrize("language", list(ASYNC))
async def test_many_runs_in_one_turn_start_no_more_children_than_may_be(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D4: `children` is a limit, also when all places of a large queue are filled at once."""
    started: list[Child] = []
    start = Child.start

    async def counted(child: Child) -> Any:
        started.append(child)
        return await start(child)

    monkeypatch.setattr(Child, "start", counted)
    name, text = ASYNC[language]
    (tmp_path / name).write_text(text)
    table = {"path": tmp_path, "pool": {"children": 2, "concurrency": 4}}
    async with hosted(MemoryBackend(), table, queues={"default": {"concurrency": 100}}) as host:
        added = await host.backend.add([NewJob("where") for _ in range(300)])
        pids = {result_of(await host.done(one.id)) for one in added}
        assert len(started) <= 2
        assert pids <= {child.pid for child in started}


async def test_a_child_that_dies_idle_is_replaced_and_said(tmp_path: Path) -> None:
    """Fault: killed between its start and its first job."""
    log = Recorder()
    async with hosted(MemoryBackend(), bundle("python"), log=log) as host:
        [child] = pool_of(host).children
        os.kill(child.pid, 9)
        await gone(child.pid)
        assert result_of(await host.run("echo", 1)) == 1
        [trouble] = log.of("bundle.start_failed")
        assert "died idle: the child was killed by SIGKILL" in trouble["error"]


@pytest.mark.parametrize("language", ["python", "node"])
async def test_short_runs_behind_a_long_one_are_taken_back(language: str, tmp_path: Path) -> None:
    """A handler that has always been quick is handed jobs ahead; when one takes long, those behind it go elsewhere."""
    table = (
        bundle(language, pool={"children": 2, "concurrency": 1})
        if language == "node"
        else bundle(language, pool={"children": 2})
    )
    gate = tmp_path / "gate"
    name = "hold" if language == "python" else "echo"
    async with hosted(MemoryBackend(), table, queues={"default": {"concurrency": 200}}) as host:
        quick = await host.backend.add([NewJob(name, b"null") for _ in range(500)])
        for one in quick:
            assert (await host.done(one.id)).state == "completed"
        if language == "python":
            assert max(child.depth for child in pool_of(host).children) > 1, "nothing was handed over ahead"
            long = await host.add(name, str(gate))
            behind = await host.backend.add([NewJob(name, b"null") for _ in range(100)])
            for one in behind:
                job = await host.done(one.id)
                assert (job.state, job.attempts_made, job.child_deaths) == ("completed", 1, 0)
            assert (await host.job(long)).state == "active"
            gate.touch()
            assert (await host.done(long)).state == "completed"


async def test_a_run_that_is_handed_back_when_its_turn_has_come_uses_no_attempt(tmp_path: Path) -> None:
    """A recall and the end of the run before cross on the wire: the host takes it for started, and its child has not begun it."""
    async with hosted(MemoryBackend(), bundle("python", pool={"children": 1})) as host:
        await host.run("hold", None)
        [child] = pool_of(host).children
        child.depth = 2
        ids = [await host.add("hold", str(tmp_path / "gate"), attempts=1), await host.add("hold", None, attempts=1)]
        with anyio.fail_after(PATIENCE):
            while len(child.runs) < 2:
                await anyio.sleep(0.01)
        first, second = child.runs.values()
        os.kill(child.pid, signal.SIGSTOP)
        child.retiring = True
        child.recall([second])
        answers = [Response(first, None, b"null"), Response(second, {"type": "NotStartedError", "message": ""}, None)]
        child._events(list(answers))
        os.kill(child.pid, signal.SIGKILL)
        for id in ids:
            job = await host.done(id)
            assert (job.state, job.attempts_made, job.error) == ("completed", 1, None)


async def test_a_fresh_child_is_ready_before_the_job_comes(tmp_path: Path) -> None:
    """`reuse = "never"`: each run has a child of its own, of which as many wait as may run; no more than `children` run at once."""
    gate = str(tmp_path / "gate")
    async with hosted(MemoryBackend(), bundle("python", only="hold", pool={"children": 2, "reuse": "never"})) as host:

        def ready() -> list[Child]:
            return [child for child in pool_of(host).children if child.ready and not child.runs_taken]

        async def two_ready() -> set[int]:
            with anyio.fail_after(PATIENCE):
                while len(ready()) != 2:
                    await anyio.sleep(0.01)
            return {child.pid for child in ready()}

        spares = await two_ready()
        ids = [await host.add("hold", gate) for _ in range(3)]
        with anyio.fail_after(PATIENCE):
            while {child.pid for child in pool_of(host).children if child.runs} != spares:
                await anyio.sleep(0.01)
        others = await two_ready()
        assert others.isdisjoint(spares)
        assert len(pool_of(host).children) == 4
        assert (await host.job(ids[2])).state == "waiting", "a spare is no place more"
        Path(gate).touch()
        for id in ids:
            assert (await host.done(id)).state == "completed"
        await two_ready()


async def test_processes_that_left_the_group_die_with_the_child() -> None:
    """G2. Row: timeout: the whole tree, a process in a session of its own too."""
    table = bundle("python", limits={"grace": "100ms"})
    async with hosted(MemoryBackend(), table) as host:
        id = await host.add("tree", {"do": "stray"}, attempts=1, timeout_ms=400)
        await host.logged(id, "stray")
        [line] = [line.message for _, line in await host.backend.logs("default", id)]
        stray = int(line.split()[1])
        assert error_of(await host.done(id))["type"] == "TimeoutError"
        await gone(stray)


@pytest.fixture(params=["the kernel's groups", "the watch"])
def keeper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who holds a tree to its memory: control groups where this process may make some, else the watch."""
    if request.param == "the watch":
        monkeypatch.setattr(cgroups, "found", lambda: None)
    elif cgroups.found() is None:
        pytest.skip("no control groups can be made here")
    return str(request.param)


async def test_memory_of_processes_below_counts(keeper: str) -> None:
    """Row: memory limit. A handler does not escape it by another process."""
    table = bundle("python", limits={"memory": "96MiB"})
    async with hosted(MemoryBackend(), table) as host:
        job = await host.run("tree", {"do": "hoard", "bytes": 200 * 1024 * 1024}, attempts=1)
        error = error_of(job)
        assert (job.state, job.attempts_made, error["type"], error["origin"]) == (
            "failed",
            1,
            "MemoryLimitError",
            "host",
        )
        assert "96" in error["message"]


BOMB = """
import os, time

def handler(job, ctx):
    for _ in range(job.data["forks"]):
        if os.fork() == 0:
            time.sleep(1000)
    time.sleep(job.data["stays"])  # for the host to look
    return "lived"
"""


async def test_more_processes_than_allowed_end_the_child(tmp_path: Path) -> None:
    """G2. Row: child killed. At `process` the tree is counted: the error names the limit and what was reached."""
    (tmp_path / "bomb.py").write_text(BOMB)
    async with hosted(MemoryBackend(), {"path": tmp_path / "bomb.py", "limits": {"processes": 8}}) as host:
        error = error_of(await host.run("bomb", {"forks": 30, "stays": 20}, attempts=1))
        assert (error["type"], error["origin"]) == ("ProcessLimitError", "host")
        limit = error["data"]["dossier"]["limit"]
        assert (limit["name"], limit["value"]) == ("processes", 8)
        assert limit["reached"] > 8
        assert result_of(await host.run("bomb", {"forks": 7, "stays": 0.7}, attempts=1)) == "lived"


async def test_memory_that_forks_share_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork looks like a doubling, and is none: four of them with 60 MiB stay below 200."""
    monkeypatch.setattr(cgroups, "found", lambda: None)
    looks: list[tuple[int, int]] = []
    measured = memory.tree_memory

    def noted(pid: int, limit: int, below: Sequence[int] | None = None) -> int:
        used = measured(pid, limit, below)
        looks.append((len(descendants(pid)), used))
        return used

    monkeypatch.setattr(memory, "tree_memory", noted)
    table = bundle("python", limits={"memory": "200MiB"})
    async with hosted(MemoryBackend(), table) as host:
        size, gate = 60 * 1024 * 1024, tmp_path / "gate"
        id = await host.add("tree", {"do": "share", "bytes": size, "forks": 4, "until": str(gate)})
        with anyio.fail_after(PATIENCE):
            while len([used for below, used in looks if below == 4 and used >= size]) < 2:
                await anyio.sleep(0.01)
        gate.touch()
        assert result_of(await host.done(id)) == [0, 0, 0, 0, size]


LEAKS = """
import os
kept = []

def handler(job, ctx):
    if not kept or job.data["more"]:
        kept.append(bytearray(os.urandom(1024)) * (job.data["mib"] * 1024))
    return os.getpid()
"""


@pytest.mark.parametrize("leaks", [True, False])
async def test_a_child_that_keeps_memory_is_replaced_between_runs(
    leaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it dies of its limit in the middle of a run; what its first run brings in for good is no leak."""
    monkeypatch.setattr(memory, "INTERVAL", 0.0)
    (tmp_path / "leaky.py").write_text(LEAKS)
    table = {"path": tmp_path / "leaky.py", "pool": {"children": 1}, "limits": {"memory": "300MiB"}}
    log = Recorder()
    async with hosted(MemoryBackend(), table, log=log) as host:
        data = {"mib": 30, "more": True} if leaks else {"mib": 200, "more": False}
        pids = [result_of(await host.run("leaky", data, attempts=1)) for _ in range(20)]
        replaced = [line["pid"] for line in log.of("child.output") if "it is replaced" in line["text"]]
        if leaks:
            assert len(set(pids)) >= 3
            assert set(replaced) <= set(pids)
            await gone(pids[0])
        else:
            assert len(set(pids)) == 1
            assert not replaced
