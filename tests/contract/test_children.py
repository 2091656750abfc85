"""What only children can do: die, be killed, be replaced, be kept from the host's secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes.pool import Pool

from .hosting import PATIENCE, Hosted, bundle, error_of, hosted, result_of

pytestmark = pytest.mark.anyio
QUICK: dict[str, Any] = {"limits": {"grace": "100ms"}}


@pytest.fixture(params=["python", "node"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pool_of(serving: Hosted) -> Pool:
    [runtime] = serving.host.bundles.runtimes
    assert isinstance(runtime, Pool)
    return runtime


async def gone(pid: int) -> None:
    """Wait until a process has ended and been reaped."""
    with anyio.fail_after(PATIENCE):
        while os.path.exists(f"/proc/{pid}"):
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", "the child was killed by SIGKILL"),
        ("SIGSEGV", "the child was killed by SIGSEGV"),
        ("exit 0", "the child exited with code 0 before the job was done"),
        ("exit 3", "the child exited with code 3 before the job was done"),
    ],
)
async def test_a_child_that_dies_fails_its_run_and_says_how(language: str, how: str, said: str) -> None:
    """Row: child killed or exits. Never a success, whatever the exit code; the last lines of stderr are quoted."""
    async with hosted(MemoryBackend(), bundle(language)) as serving:
        job = await serving.run("die", how, attempts=2)
        error = error_of(job)
        assert (job.state, job.attempts_made, error["type"], error["origin"]) == ("failed", 2, "ChildDied", "child")
        assert error["message"].startswith(said)
        assert "raw last words" in error["message"]
        assert result_of(await serving.run("echo", "still here")) == "still here"


async def test_a_child_that_closes_its_pipes_is_dead() -> None:
    """Fault: end of file is death, also while the process lives."""
    async with hosted(MemoryBackend(), bundle("python")) as serving:
        job = await serving.run("die", "close", attempts=1)
        assert error_of(job)["type"] == "ChildDied"


async def test_a_job_whose_child_died_is_retried(language: str) -> None:
    """And its log still says why, once a completed attempt has cleared the error."""
    async with hosted(MemoryBackend(), bundle(language)) as serving:
        job = await serving.run("die_once", attempts=3)
        assert (result_of(job), job.attempts_made, job.error) == (2, 2, None)
        told = [line for _, line in await serving.backend.logs("default", job.id) if line.source == "host"]
        assert [(line.level, line.attempt) for line in told] == [("warning", 1)]
        assert told[0].message.startswith("the job comes back in ")
        assert "ChildDied: the child " in told[0].message


@pytest.mark.parametrize("data", [None, "ignore SIGTERM"])
async def test_a_timeout_stops_work_that_does_not_listen(language: str, data: Any) -> None:
    """G2. Trap: a timeout that only marks the job failed while the work goes on. Here the work stops. Cancel, grace, SIGTERM, SIGKILL."""
    async with hosted(MemoryBackend(), bundle(language, **QUICK)) as serving:
        id = await serving.add("stubborn", data, timeout_ms=300, attempts=1)
        await serving.logged(id, "blocking")
        [pid] = [child.pid for child in pool_of(serving).children if child.runs]
        job = await serving.done(id)
        assert (job.state, error_of(job)["type"]) == ("failed", "TimeoutError")
        await gone(pid)
        assert result_of(await serving.run("echo", 1)) == 1


async def test_a_sync_handler_sees_its_cancellation() -> None:
    """A sync handler sees `ctx.cancelled` change, in a child and in the host."""
    for isolation in ("process", "none"):
        async with hosted(MemoryBackend(), bundle("python", isolation=isolation)) as serving:
            id = await serving.add("cooperative", attempts=1)
            await serving.logged(id, "looking")
            await serving.backend.cancel("default", id)
            assert error_of(await serving.done(id))["type"] == "CancelledError"


async def test_when_a_shared_child_is_killed_for_one_run_the_others_go_back_unharmed() -> None:
    """Row: several runs in the child and a known cause: the others lose no attempt and are no suspects."""
    table = bundle("node", pool={"children": 1, "concurrency": 4}, **QUICK)
    async with hosted(MemoryBackend(), table) as serving:
        bystander = await serving.add("wait", attempts=1)
        await serving.logged(bystander, "waiting")
        culprit = await serving.add("stubborn", timeout_ms=200, attempts=1)
        assert error_of(await serving.done(culprit))["type"] == "TimeoutError"
        back = await serving.until(bystander, lambda job: job.state == "active" and len(pool_of(serving).children) > 0)
        assert (back.attempts_made, back.child_deaths) == (0, 0)


async def test_when_nobody_knows_who_killed_the_child_each_suspect_runs_alone() -> None:
    """Row: several runs, no known cause: back to waiting as suspects, then each alone; the killer is found out."""
    table = bundle("node", pool={"children": 1, "concurrency": 4})
    async with hosted(MemoryBackend(), table, queues={"default": {"max_child_deaths": 3}}) as serving:
        innocent = await serving.add("wait", attempts=1)
        await serving.logged(innocent, "waiting")
        killer = await serving.add("die", "SIGKILL", attempts=1)
        suspect = await serving.until(innocent, lambda job: job.state == "active" and job.child_deaths == 1)
        assert suspect.attempts_made == 0
        # It has the only child to itself, so the other suspect waits for its end.
        assert (await serving.job(killer)).attempts_made == 0
        await serving.backend.cancel("default", innocent)
        assert error_of(await serving.done(innocent))["type"] == "CancelledError"
        dead = await serving.done(killer)
        assert (dead.state, error_of(dead)["type"]) == ("failed", "ChildDied")
        assert dead.child_deaths == 2  # the one it was suspected of, and its own


async def test_memory_over_the_limit_kills_the_child(language: str) -> None:
    """Row: memory limit."""
    table = bundle(language, limits={"memory": "200MiB"})
    async with hosted(MemoryBackend(), table) as serving:
        job = await serving.run("eat", attempts=1)
        error = error_of(job)
        assert (job.state, error["type"], error["origin"]) == ("failed", "MemoryLimitError", "host")
        assert "the limit is 200 MiB" in error["message"]


async def test_children_see_only_what_their_bundle_lists(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: the whole environment of the host is handed to the child. Here nothing but what is listed."""
    monkeypatch.setenv("STRIPE_KEY", "listed")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    async with hosted(MemoryBackend(), bundle(language, env=["STRIPE_KEY"])) as serving:
        seen = result_of(await serving.run("env"))
        assert seen["env"]["STRIPE_KEY"] == "listed"
        assert "DATABASE_PASSWORD" not in seen["env"]
        assert set(seen["env"]) <= {"PATH", "LANG", "TZ", "STRIPE_KEY", "LC_CTYPE", "PWD"}
        assert seen.get("modules", []) == []


async def test_the_host_never_imports_what_it_isolates(tmp_path: Path) -> None:
    import sys

    (tmp_path / "only_in_children.py").write_text("def handler(job, ctx):\n    return 1\n")
    async with hosted(MemoryBackend(), {"path": tmp_path}) as serving:
        assert result_of(await serving.run("only_in_children")) == 1
        assert not [name for name in sys.modules if "only_in_children" in name]


async def test_output_becomes_lines_of_the_run_that_wrote_it(language: str) -> None:
    """K1. Trap: a stray print is neither swallowed nor taken for a reply, also with several runs in one child."""
    table = bundle(language, pool={"children": 1})
    async with hosted(MemoryBackend(), table) as serving:
        names = [f"run-{i}" for i in range(8)]
        ids = [await serving.add("talk", name) for name in names]
        for id, name in zip(ids, names, strict=True):
            await serving.done(id)
            await serving.logged(id, f"{name} logs 2")
            lines = [line for _, line in await serving.backend.logs("default", id)]
            assert {line.message.split()[0] for line in lines} == {name}
            printed = [line.message for line in lines if line.source == "stdout"]
            assert printed == [f"{name} prints {i}" for i in range(3)]
            assert [line.fields for line in lines if line.source == "handler"][1] == b'{"number":1}'
            if language == "python":
                warned = [line for line in lines if line.source == "logging"]
                assert [line.level for line in warned] == ["warning"] * 3


async def test_a_flood_of_logs_is_bounded_and_counted() -> None:
    """Fault: 100,000 lines and 200 kB of raw output; what is dropped is said."""
    async with hosted(MemoryBackend(), bundle("python")) as serving:
        id = await serving.add("flood")
        assert result_of(await serving.done(id)) == "done"
        await serving.logged(id, "log lines dropped")
        assert len(await serving.backend.logs("default", id)) <= 1000


async def test_children_start_on_demand_and_serve_one_after_another(language: str) -> None:
    """D4, D7: replaced after `max_runs`."""
    table = bundle(language, pool={"children": 1, "max_runs": 3, "concurrency": 1})
    async with hosted(MemoryBackend(), table) as serving:
        pids = [result_of(await serving.run("env"))["pid"] for _ in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


async def test_a_fresh_child_for_every_run(language: str) -> None:
    """`reuse = "never"`: nothing is left over from the last run."""
    table = bundle(language, pool={"children": 2, "reuse": "never"})
    async with hosted(MemoryBackend(), table) as serving:
        ids = [await serving.add("env") for _ in range(6)]
        pids = {result_of(await serving.done(id))["pid"] for id in ids}
        assert len(pids) == 6


async def test_idle_children_go_and_one_stays_warm() -> None:
    table = bundle("python", pool={"children": 3, "idle_timeout": "100ms"})
    async with hosted(MemoryBackend(), table) as serving:
        pool = pool_of(serving)
        ids = [await serving.add("cooperative") for _ in range(3)]
        with anyio.fail_after(PATIENCE):
            while len(pool.children) < 3:
                await anyio.sleep(0.01)
        for id in ids:
            await serving.logged(id, "looking")
            await serving.backend.cancel("default", id)
            await serving.done(id)
        with anyio.fail_after(PATIENCE):
            while len(pool.children) > 1:
                await anyio.sleep(0.01)
        assert result_of(await serving.run("echo", 1)) == 1


async def test_a_missing_interpreter_is_said_once_and_its_jobs_wait(tmp_path: Path) -> None:
    """Fault: a bundle that can't start is a reported problem; its jobs wait without using attempts."""
    (tmp_path / "h.py").write_text("def handler(job, ctx):\n    return 1\n")
    async with hosted(
        MemoryBackend(), {"path": tmp_path, "python": "/nonexistent/python"}, bundle("python")
    ) as serving:
        [problem] = [p for p in serving.host.catalogue.problems if "nonexistent" in p.error]
        assert "the interpreter /nonexistent/python does not exist" in problem.error
        assert result_of(await serving.run("echo", 1)) == 1


async def test_a_bundle_that_hangs_while_it_loads_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "h.py").write_text("import time\ntime.sleep(1000)\n")
    slow = {"path": tmp_path, "start_timeout": "300ms"}
    async with hosted(MemoryBackend(), slow, bundle("python")) as serving:
        assert result_of(await serving.run("echo", 1)) == 1
        with anyio.fail_after(PATIENCE):
            while not [p for p in serving.host.catalogue.problems if "did not answer within 0.3 s" in p.error]:
                await anyio.sleep(0.01)


async def test_two_handlers_of_one_name_are_an_error_that_names_both_files(tmp_path: Path) -> None:
    """A4: a later folder does not silently win."""
    from jobhost.errors import ConfigurationError

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text("def handler(job, ctx):\n    return 1\n")
    with pytest.raises(ConfigurationError, match=r"two handlers are named 'same': .*same\.py and .*same\.py"):
        async with hosted(MemoryBackend(), {"path": tmp_path / "a"}, {"path": tmp_path / "b"}):
            pass


async def test_stopping_leaves_no_process_behind(language: str) -> None:
    """L1: after the stop every child is gone and reaped."""
    async with hosted(MemoryBackend(), bundle(language, **QUICK)) as serving:
        id = await serving.add("stubborn")
        await serving.logged(id, "blocking")
        pids = [child.pid for child in pool_of(serving).children]
        assert pids
        await serving.host.stop(now=True)
        assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
