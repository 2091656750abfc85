"""Handlers inside the host: what loads, what ends, what is left behind, and what reaches the host from them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.dispatch.host import Host
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.seam import Backend
from jobhost_sdk.errors import CallError

from .functions import Gate, Recorder, echo, serving, until
from .hosting import PATIENCE, error_of, hosted, result_of

pytestmark = pytest.mark.anyio


def inside(folder: Path, text: str, **settings: Any) -> dict[str, Any]:
    (folder / "h.py").write_text(text)
    return {"path": folder, "isolation": "none", "limits": {"grace": "100ms"}, **settings}


async def test_setup_and_teardown_run_once_on_the_handlers_own_thread(tmp_path: Path) -> None:
    """A9: services are made once, and taken down when the host stops."""
    text = """
import pathlib, threading
MADE = []

async def setup(ctx):
    ctx.logger.info("setting up")
    MADE.append(threading.current_thread().name)
    ctx.services.made = MADE

def teardown(ctx):
    pathlib.Path(ctx.services.made[1]).write_text("down")

def handler(job, ctx):
    if job.data:
        ctx.services.made.append(job.data)
    return ctx.services.made[0]

"""
    async with hosted(MemoryBackend(), inside(tmp_path, text)) as host:
        thread = result_of(await host.run("h", str(tmp_path / "down")))
        assert thread.startswith("handlers-")
        assert result_of(await host.run("h")) == thread
    assert (tmp_path / "down").read_text() == "down"


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("def setup(ctx):\n    raise LookupError('no database')\n", "failed: LookupError: no database"),
        ("async def setup(ctx):\n    ctx.services.missing\n", "no service 'missing'"),
        ("import asyncio\nasync def setup(ctx):\n    await asyncio.Event().wait()\n", "did not load within 0.2 s"),
    ],
)
async def test_a_setup_that_fails_is_a_problem_and_the_rest_is_served(hook: str, said: str, tmp_path: Path) -> None:
    """A9: the reason is told; other bundles go on."""
    table = inside(tmp_path, f"{hook}\ndef handler(job, ctx):\n    return 1\n", start_timeout="200ms")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "fine.py").write_text("def handler(job, ctx):\n    return 2\n")
    log = Recorder()
    async with hosted(MemoryBackend(), table, {"path": tmp_path / "other", "isolation": "none"}, log=log) as host:
        assert result_of(await host.run("fine")) == 2
        with anyio.fail_after(PATIENCE):
            while not log.of("bundle.start_failed"):
                await anyio.sleep(0.01)
        assert said in log.of("bundle.start_failed")[0]["error"]
        assert any(said in problem.error for problem in host.host.catalogue.problems)


async def test_a_teardown_that_fails_is_said_and_the_host_stops(tmp_path: Path) -> None:
    """L1: errors while closing end nothing early."""
    text = "def teardown(ctx):\n    raise OSError('socket gone')\ndef handler(job, ctx):\n    return 1\n"
    log = Recorder()
    async with hosted(MemoryBackend(), inside(tmp_path, text), log=log) as host:
        assert result_of(await host.run("h")) == 1
    [line] = log.of("child.output")
    assert line["text"] == "teardown failed: OSError: socket gone"
    assert log.of("host.stopped")


async def test_a_timeout_that_nobody_can_enforce_is_said(tmp_path: Path) -> None:
    """G2: where a handler runs in the host its timeout is a request, and the log says so."""
    log = Recorder()
    text = "from jobhost_sdk import handler\n@handler('h', timeout='5s')\ndef run(job, ctx): return 1\n"
    async with hosted(MemoryBackend(), inside(tmp_path, text), log=log) as host:
        assert result_of(await host.run("h")) == 1
    [said] = log.of("handler.timeout_not_enforced")
    assert (said["handler"], said["timeout_ms"]) == ("h", 5_000)


async def test_an_asynchronous_handler_is_cancelled(store: Backend) -> None:
    """G2. Rows: timeout and cancel, of a coroutine: the await ends, what it does then is its own affair."""
    ended: list[str] = []

    async def patient(job: Any, ctx: Any) -> None:
        ctx.logger.info("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(str(ctx.cancel_reason))

    async with serving(store, {"patient": patient}) as host:
        assert error_of(await host.run("patient", attempts=1, timeout_ms=30))["type"] == "TimeoutError"
        id = await host.add("patient")
        await host.logged(id, "waiting")
        assert await store.cancel("default", id) == "requested"
        job = await host.done(id)
        assert (job.state, error_of(job)["type"]) == ("failed", "CancelledError")
        assert ended == ["timeout", "cancelled"]


async def test_a_handler_that_does_not_listen_keeps_its_place_until_it_returns(store: Backend) -> None:
    """G2, section 5: `none` is cooperative: slot and lease are held, no retry starts before; then it counts as timed out."""
    gate = Gate()
    functions = {"gate": (gate, {"concurrency": 1}), "echo": echo}
    queues = {"default": {"backoff": {"type": "fixed", "delay": "0ms", "jitter": 0.0}, "lease": "100ms"}}
    async with serving(store, functions, queues=queues) as host:
        id = await host.add("gate", attempts=1, timeout_ms=20)
        await until(lambda: gate.entered == [id])
        second = await host.add("gate", attempts=1)
        for n in range(20):
            assert result_of(await host.run("echo", n)) == n
        assert (await host.job(id)).state == "active"
        # On Redis a job whose handler has no place is taken and put back again and again: it is active for a moment, and does not run.
        await host.until(second, lambda job: job.state in ("waiting", "delayed"))
        assert gate.entered == [id]
        gate.open()
        job = await host.done(id)
        assert (job.state, job.attempts_made, job.stalled, error_of(job)["type"]) == ("failed", 1, 0, "TimeoutError")
        assert (await host.done(second)).state == "completed"


async def test_what_calls_the_host_after_its_run_is_refused(store: Backend) -> None:
    """Section 7: a call for a run that is over is refused, from a thread it left behind too."""
    gate = Gate()
    said: list[str] = []

    def leaves(job: Any, ctx: Any) -> None:
        def late() -> None:
            gate(job, ctx)
            try:
                ctx.state.set("late", 1)
            except CallError as error:
                said.append(error.type)

        threading.Thread(target=late, daemon=True).start()

    async with serving(store, {"leaves": leaves}) as host:
        assert (await host.run("leaves")).state == "completed"
        gate.open()
        await until(lambda: said == ["RunNotLiveError"])


async def test_system_exit_in_a_handler_ends_its_run_alone(store: Backend) -> None:
    """A handler in the host that calls `sys.exit` fails; the host and its threads go on."""

    def leave(job: Any, ctx: Any) -> None:
        raise SystemExit(3)

    async def leave_async(job: Any, ctx: Any) -> None:
        raise SystemExit(3)

    async with serving(store, {"leave": leave, "leave_async": leave_async, "echo": echo}) as host:
        for name in ("leave", "leave_async"):
            job = await host.run(name, attempts=1)
            assert (job.state, error_of(job)["type"]) == ("failed", "SystemExit"), name
        assert result_of(await host.run("echo", 1)) == 1


async def test_many_block_at_once(store: Backend) -> None:
    """E1: a sync handler may block; it never blocks others."""
    gate = Gate()
    async with serving(store, {"gate": gate, "echo": echo}, queues={"default": {"concurrency": 40}}) as host:
        ids = [await host.add("gate") for _ in range(32)]
        await until(lambda: len(gate.entered) == 32)
        assert result_of(await host.run("echo", 1)) == 1
        gate.open()
        for id in ids:
            assert (await host.done(id)).state == "completed"
    assert gate.most == 32


async def test_a_stop_leaves_a_blocking_handler_behind(store: Backend) -> None:
    """L1: nothing in the host can be stopped by force: the job goes back, and the host stops all the same."""
    gate = Gate()
    async with serving(store, {"gate": gate}, shutdown_timeout="10ms") as host:
        id = await host.add("gate")
        await until(lambda: gate.entered == [id])
        serving_host: Host = host.host
        settled: list[Any] = []
        tell = serving_host.settled

        def note(*given: Any) -> None:
            settled.append(given[2])
            tell(*given)

        serving_host.settled = note  # type: ignore[method-assign, assignment]
        with anyio.fail_after(PATIENCE):
            await serving_host.stop(now=True)
        assert [(one.to, one.attempt_used) for one in settled] == [("waiting", False)]
