"""`jobhost.testing`: the real engine in a test, with a clock that leaps."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jobhost.errors import ConfigurationError, JobhostError
from jobhost.testing import TestHost
from jobhost_sdk import Handler, RetryLater, UnrecoverableError

BUNDLES = Path(__file__).parents[1] / "fixtures" / "kit"
NIGHT = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)


def double(job: Any) -> Any:
    return job.data * 2


# Jobs ---------------------------------------------------------------------------------------------------------------


def test_a_job_runs_and_its_result_is_there(jobhost: TestHost) -> None:
    """P1: a test queue, a test handler, and no server, in a plain function."""
    jobhost.register(double)
    job = jobhost.enqueue("double", 21)
    assert job.state == "waiting"
    jobhost.run_until_idle()
    assert job.result == 42
    assert (job.state, job.attempts, job.error, job.data, job.queue) == ("completed", 1, None, 21, "default")


def test_handlers_of_every_form(jobhost: TestHost) -> None:
    class Triple(Handler):
        async def run(self, job: Any, ctx: Any) -> Any:
            return job.data * 3

    async def half(job: Any, ctx: Any) -> Any:
        return job.data / 2

    jobhost.register(double, "twice", queue="sums")
    jobhost.register(Triple, "thrice")
    first = jobhost.enqueue("twice", 1)
    jobhost.register(half)  # while it runs
    second, third = jobhost.enqueue("thrice", 1), jobhost.enqueue("half", 1)
    jobhost.run_until_idle()
    assert [job.result for job in (first, second, third)] == [2, 3, 0.5]
    assert first.queue == "sums"


def test_failures_say_what_happened(jobhost: TestHost) -> None:
    """P1: an assertion that fails tells state, error, stack and log."""

    def broken(job: Any, ctx: Any) -> None:
        ctx.logger.warning("about to break", row=3)
        raise LookupError("no row 3")

    jobhost.register(broken, attempts=2, backoff="1h")
    job = jobhost.enqueue("broken")
    jobhost.run_until_idle()
    assert job.assert_failed("LookupError", "row 3")["origin"] == "handler"
    with pytest.raises(AssertionError) as said:
        assert job.result == 1
    text = str(said.value)
    assert "broken 1 of queue default is failed after 2 attempts" in text
    assert "error: LookupError: no row 3" in text
    assert 'raise LookupError("no row 3")' in text
    assert "log warning: about to break row=3" in text
    for check in (
        lambda: job.assert_failed("ValueError"),
        lambda: job.assert_failed("LookupError", "row 4"),
        lambda: job.assert_completed(),
        lambda: job.assert_logged("about to mend"),
        lambda: job.assert_emitted("mended"),
        lambda: jobhost.job("mended"),
    ):
        with pytest.raises(AssertionError, match=r"broken|LookupError"):
            check()


def test_a_result_that_differs_is_told(jobhost: TestHost) -> None:
    jobhost.register(double)
    job = jobhost.enqueue("double", 2)
    jobhost.run_until_idle()
    assert job.assert_completed() == job.assert_completed(4) == 4
    with pytest.raises(AssertionError, match="returned 4, not 5"):
        job.assert_completed(5)
    with pytest.raises(AssertionError, match="has not failed"):
        job.assert_failed()


def test_logs_and_progress(jobhost: TestHost) -> None:
    async def talk(job: Any, ctx: Any) -> None:
        ctx.logger.info("hello", to="Ada", n=1)
        await ctx.progress({"done": 1})
        ctx.logger.error("and gone")

    jobhost.register(talk)
    job = jobhost.enqueue("talk")
    jobhost.run_until_idle()
    assert job.progress == {"done": 1}
    assert [line["message"] for line in job.logs] == ["hello", "and gone"]
    assert job.assert_logged("hel", to="Ada")["fields"] == {"to": "Ada", "n": 1}
    assert job.assert_logged("gone", "error")["attempt"] == 1
    with pytest.raises(AssertionError, match="did not log info 'hello' to='Grace'"):
        job.assert_logged("hello", "info", to="Grace")


def test_what_no_handler_has_fails_with_the_names_there_are(jobhost: TestHost) -> None:
    jobhost.register(double)
    job = jobhost.enqueue("duoble", 1)
    jobhost.run_until_idle()
    job.assert_failed("UnknownJobTypeError", "double")


def test_input_schemas_are_checked(jobhost: TestHost) -> None:
    jobhost.register(double, input={"type": "integer"})
    job = jobhost.enqueue("double", "two")
    jobhost.run_until_idle()
    assert job.assert_failed("InvalidJobDataError")["fields"] == [{"field": "", "message": "must be integer"}]


# Time ---------------------------------------------------------------------------------------------------------------


def test_backoff_and_delay_pass_at_once(jobhost: TestHost) -> None:
    """P1: hours of waiting take no time."""
    times: list[datetime] = []

    async def moody(job: Any, ctx: Any) -> int:
        times.append(jobhost.now)
        if job.attempt < 3:
            raise OSError("not yet")
        return int(job.attempt)

    jobhost.register(moody, attempts=3, backoff={"type": "fixed", "delay": "2h", "jitter": 0})
    began, start = time.monotonic(), jobhost.now
    job = jobhost.enqueue("moody", delay="5h")
    jobhost.run_until_idle()
    assert job.result == 3
    assert [round((each - start).total_seconds() / 3600, 3) for each in times] == [5, 7, 9]
    assert time.monotonic() - began < 5


def test_retry_later_uses_no_attempt(jobhost: TestHost) -> None:
    async def later(job: Any, ctx: Any) -> int:
        if await ctx.state.incr("tries") < 4:
            raise RetryLater("10m")
        return int(job.attempt)

    jobhost.register(later)
    job = jobhost.enqueue("later")
    jobhost.run_until_idle()
    assert job.result == 1
    assert job.stored == {"tries": 4}


def test_what_comes_due_after_the_limit_is_left_and_said(jobhost: TestHost) -> None:
    jobhost.register(double)
    job = jobhost.enqueue("double", 1, delay="2d")
    jobhost.run_until_idle()
    with pytest.raises(AssertionError, match=r"is delayed, due .* it is .* now: advance\(\) lets time pass"):
        assert job.result
    jobhost.run_until_idle(limit="3d")
    assert job.result == 2


def test_advance_stops_where_it_should(jobhost: TestHost) -> None:
    """P1: time passes by what the test says, to the millisecond."""
    jobhost.register(double)
    start = jobhost.now
    job = jobhost.enqueue("double", 1, delay="5m")
    jobhost.advance("299999ms")
    assert job.state == "delayed"
    jobhost.advance("1ms")
    assert job.result == 2
    assert (jobhost.now - start).total_seconds() == 300


def test_a_schedule_gives_its_jobs_and_does_not_run_for_ever() -> None:
    """P1: a night of changed clocks, in no time."""
    with TestHost(now=NIGHT) as jobhost:
        jobhost.register(double)
        jobhost.schedule("nightly", "double", 1, cron="30 2 * * *", tz="Europe/Berlin")
        jobhost.schedule("often", "double", 2, every="1h")
        jobhost.run_until_idle()
        ran = [(job.data, job.info["created_at"][:16]) for job in jobhost.jobs("double")]
        assert (1, "2026-03-29T01:00") in ran  # 02:30 is left out on that night: it runs as soon as it is over
        assert len([data for data, _ in ran if data == 2]) == 24
        jobhost.advance("3h")
        assert len(jobhost.jobs("double")) == len(ran) + 4
        assert jobhost.now == datetime(2026, 3, 30, 2, 30, tzinfo=UTC)


def test_a_sleep_of_a_handler_is_over_at_once_where_the_test_lets_time_pass(jobhost: TestHost) -> None:
    async def slow(job: Any, ctx: Any) -> str:
        await asyncio.sleep(600)
        return "rested"

    jobhost.register(slow)
    job = jobhost.enqueue("slow")
    jobhost.advance("9m")
    assert job.state == "active"
    jobhost.advance("2m")
    assert job.result == "rested"


def test_jobs_can_be_cancelled_and_retried(jobhost: TestHost) -> None:
    async def slow(job: Any, ctx: Any) -> str:
        if job.data["hangs"]:
            await asyncio.Event().wait()
        return "done"

    jobhost.register(slow)
    waiting, running = jobhost.enqueue("slow", {"hangs": False}), jobhost.enqueue("slow", {"hangs": True})
    assert waiting.cancel() == "cancelled"
    jobhost.advance("10m")  # longer than a lease, which is kept
    assert running.cancel() == "requested"
    jobhost.run_until_idle()
    for job in (waiting, running):
        job.assert_failed("CancelledError")
    assert waiting.retry()
    jobhost.run_until_idle()
    assert waiting.result == "done"
    assert waiting.cancel() == "finished"


def test_a_timeout_is_reached_at_once_where_the_test_lets_time_pass(jobhost: TestHost) -> None:
    """P1: a handler that hangs, without waiting for its timeout."""

    async def hang(job: Any, ctx: Any) -> None:
        await asyncio.Event().wait()

    jobhost.register(hang, timeout="30s", attempts=1)
    job = jobhost.enqueue("hang")
    jobhost.advance("29s")
    assert job.state == "active"
    jobhost.advance("5s")
    job.assert_failed("TimeoutError", "30s")


def test_a_handler_that_hangs_is_named(jobhost: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(job: Any, ctx: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("jobhost.testing.course.PATIENCE", 0.05)
    jobhost.register(hang)
    jobhost.enqueue("hang")
    with pytest.raises(JobhostError, match=r"still running after 0\.05 s: hang 1; advance\(\) lets time pass"):
        jobhost.run_until_idle()


def test_a_blocking_handler_sees_its_timeout_in_real_time(jobhost: TestHost) -> None:
    def busy(job: Any, ctx: Any) -> None:
        while not ctx.cancelled:
            time.sleep(0.005)

    jobhost.register(busy, timeout="100ms", attempts=1)
    job = jobhost.enqueue("busy")
    jobhost.run_until_idle()
    job.assert_failed("TimeoutError")


def test_time_does_not_leap_over_what_a_handler_waits_for(jobhost: TestHost) -> None:
    """Threads and sockets are waited for, though the test lets an hour pass and the timeout is a minute."""
    opened = threading.Event()

    async def from_thread(job: Any, ctx: Any) -> bool:
        threading.Timer(0.05, opened.set).start()
        return await asyncio.to_thread(opened.wait, 30)

    async def from_socket(job: Any, ctx: Any) -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        threading.Timer(0.05, theirs.send, [b"hello"]).start()
        try:
            return await asyncio.get_running_loop().sock_recv(ours, 5) == b"hello"  # type: ignore[return-value]
        finally:
            ours.close()
            opened.wait(30)
            theirs.close()

    jobhost.register(from_thread, timeout="1m", attempts=1)
    jobhost.register(from_socket, timeout="1m", attempts=1)
    jobs = [jobhost.enqueue("from_thread"), jobhost.enqueue("from_socket")]
    jobhost.advance("1h")
    jobhost.run_until_idle()
    assert [job.result for job in jobs] == [True, True]


# Flows, emits, state -------------------------------------------------------------------------------------------------


def order(host: TestHost) -> None:
    async def place(job: Any, ctx: Any) -> None:
        await ctx.state.set("customer", job.data["customer"])
        await ctx.flow.emit("placed", {"total": 3})

    def ship(job: Any, ctx: Any) -> str:
        return f"{job.data['total']} to {ctx.state.get('customer')}"

    host.register(place, flow={"name": "orders", "emits": ["placed"]})
    host.register(ship, queue="shipping", flow={"name": "orders", "subscribes": ["placed"]})


def test_emits_and_the_jobs_they_give(jobhost: TestHost) -> None:
    """P1: what was emitted, and that it was delivered."""
    order(jobhost)
    flow = jobhost.start_flow("orders", {"customer": "Ada"})
    jobhost.run_until_idle()
    emit = jobhost.assert_emitted("placed", {"total": 3})
    assert (emit.to, emit.handler, emit.key) == (("ship",), "place", None)
    assert flow.job("place").emits == jobhost.emits == [emit]
    assert jobhost.job("ship").result == "3 to Ada"
    assert flow.stored == jobhost.job("ship").stored == {"customer": "Ada"}
    assert [job.name for job in flow.jobs] == ["place", "ship"]
    flow.assert_completed()
    assert [event["type"] for event in flow.events][-1] == "flow.completed"
    with pytest.raises(
        AssertionError, match=re.escape("did not emit placed {'total': 4}; it emitted:\n  placed {'total': 3}")
    ):
        jobhost.assert_emitted("placed", {"total": 4})
    with pytest.raises(AssertionError, match=r"orders .* is completed\nplace"):
        flow.assert_failed()
    with pytest.raises(AssertionError, match="no job pack"):
        flow.job("pack")


def test_a_run_that_fails_emits_nothing(jobhost: TestHost) -> None:
    async def place(job: Any, ctx: Any) -> None:
        await ctx.flow.emit("placed", 1)
        raise UnrecoverableError("no")

    jobhost.register(place, flow={"name": "orders", "emits": ["placed"]})
    flow = jobhost.start_flow("orders")
    jobhost.run_until_idle()
    assert jobhost.emits == []
    flow.assert_failed()
    with pytest.raises(AssertionError, match=r"the flow has not completed(.|\n)*UnrecoverableError: no"):
        flow.assert_completed()


def test_an_emit_that_is_not_declared_raises_in_the_handler(jobhost: TestHost) -> None:
    async def place(job: Any, ctx: Any) -> None:
        await ctx.flow.emit("palced", 1)

    jobhost.register(place, attempts=1, flow={"name": "orders", "emits": ["placed"]})
    job = jobhost.enqueue("place")
    jobhost.run_until_idle()
    job.assert_failed("FlowError", "may not emit 'palced'")


def test_immediate_emits_are_recorded_too(jobhost: TestHost) -> None:
    async def place(job: Any, ctx: Any) -> None:
        await ctx.flow.emit("heard", 1, immediate=True)
        raise UnrecoverableError("no")

    jobhost.register(place)
    job = jobhost.enqueue("place")
    jobhost.run_until_idle()
    assert job.assert_emitted("heard", 1).to == ()


def test_state_can_be_given_and_looked_at(jobhost: TestHost) -> None:
    async def count(job: Any, ctx: Any) -> int:
        await ctx.state.set("mine", [job.data])
        await ctx.state.of("handler").set("last", job.id)
        return int(await ctx.state.of("global").incr("counter"))

    jobhost.register(count)
    jobhost.store("global", {"counter": 41})
    job = jobhost.enqueue("count", "x")
    jobhost.run_until_idle()
    assert job.result == 42
    assert jobhost.stored("global") == {"counter": 42}
    assert jobhost.stored("handler", "count") == {"last": job.id}
    assert job.stored == jobhost.stored("job", job) == {"mine": ["x"]}
    with pytest.raises(ValueError, match="no scope"):
        jobhost.stored("handler", "nobody")


def test_emits_in_a_circle_are_told(jobhost: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    async def again(job: Any, ctx: Any) -> None:
        await ctx.flow.emit("again", job.data)

    monkeypatch.setattr("jobhost.testing.course.MOST_ENDS", 50)
    jobhost.register(again, flow={"name": "circle", "subscribes": ["again"], "emits": ["again"]})
    jobhost.enqueue("again")
    with pytest.raises(JobhostError, match="in a circle"):
        jobhost.run_until_idle()


# Configuration and bundles --------------------------------------------------------------------------------------------


def test_configuration_holds() -> None:
    config = {
        "queues": {"mail": {"attempts": 2, "dead_letter": "mail.dead", "backoff": "1s"}, "later": {"paused": True}},
        "handlers": {"double": {"queue": "mail"}},
    }
    with TestHost(config) as jobhost:
        jobhost.register(double)
        job, paused = jobhost.enqueue("double", None), jobhost.enqueue("double", 1, queue="later")
        jobhost.run_until_idle()
        assert (job.queue, job.attempts) == ("mail", 2)
        assert [dead.data for dead in jobhost.jobs(queue="mail.dead")] == [None]
        assert paused.state == "waiting"
        assert [job.id for job in jobhost.jobs(state="failed")] == [job.id]


def test_why_a_job_still_waits(jobhost: TestHost) -> None:
    jobhost.register(double)
    waiting = jobhost.enqueue("double", 1)
    assert "run_until_idle() lets it run" in waiting.describe()
    jobhost.call(jobhost.backend.pause("default"))
    jobhost.run_until_idle()
    assert "its queue is paused" in waiting.describe()
    assert "serves default, and not its queue" in _run_elsewhere(jobhost)
    jobhost.call(jobhost.backend.resume("default"))
    jobhost.run_until_idle()
    assert waiting.result == 2


def _run_elsewhere(jobhost: TestHost) -> str:
    job = jobhost.enqueue("double", 1, queue="elsewhere")
    jobhost.run_until_idle()
    return job.describe()


def test_a_folder_of_handlers_is_loaded_anew_for_each_host() -> None:
    for _ in range(2):
        with TestHost() as jobhost:
            jobhost.bundle(BUNDLES / "python")
            jobs = [jobhost.enqueue("counting"), jobhost.enqueue("counting")]
            jobhost.run_until_idle()
            assert [job.result for job in jobs] == [1, 2]
            with pytest.raises(ConfigurationError, match="before the first job"):
                jobhost.bundle(BUNDLES)


def test_a_handler_file_that_is_wrong_is_told() -> None:
    with TestHost() as jobhost:
        jobhost.bundle(BUNDLES / "bad_python")
        with pytest.raises(ConfigurationError, match=r"broken\.py:1: ZeroDivisionError"):
            jobhost.enqueue("broken")


def test_bundles_in_children_and_in_node_take_part() -> None:
    """P1: the same kit where handlers are in another language, each in its own process."""
    with TestHost() as jobhost:
        jobhost.bundle(BUNDLES / "node", isolation="process")
        jobhost.bundle(BUNDLES / "python", isolation="process")
        jobhost.register(double)
        first, second = jobhost.enqueue("shout", "hey", delay="1h"), jobhost.enqueue("counting", delay="3h")
        jobhost.run_until_idle()
        assert (first.result, second.result) == ("HEY", 1)


def test_the_configuration_of_a_project(tmp_path: Path) -> None:
    (tmp_path / "jobhost.toml").write_text(
        '[[bundles]]\npath = "handlers"\nisolation = "none"\n[queues.default]\nattempts = 7\n'
    )
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "fail.py").write_text("def handler(job, ctx):\n    raise ValueError('no')\n")
    with TestHost(tmp_path / "jobhost.toml") as jobhost:
        job = jobhost.enqueue("fail")
        jobhost.run_until_idle()
        assert job.attempts == 7


# Places to use it in -----------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_it_works_inside_a_coroutine(jobhost: TestHost) -> None:
    """P1: asynchronous tests use it as plain ones do; what their own loop serves is not held up from a thread."""
    served = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def ask(job: Any, ctx: Any) -> str:
        loop.call_soon_threadsafe(served.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(served.wait(), loop))
        return "answered"

    jobhost.register(double)
    jobhost.register(ask)
    job = jobhost.enqueue("double", 2)
    jobhost.run_until_idle()
    assert job.result == 4
    job = jobhost.enqueue("ask")
    await asyncio.to_thread(jobhost.run_until_idle)
    assert job.result == "answered"


def test_ctrl_c_in_a_handler_ends_the_test(jobhost: TestHost) -> None:
    async def interrupted(job: Any, ctx: Any) -> None:
        raise KeyboardInterrupt

    jobhost.register(interrupted)
    jobhost.enqueue("interrupted")
    with pytest.raises(KeyboardInterrupt):
        jobhost.run_until_idle()


def test_what_handlers_leave_behind_is_ended(jobhost: TestHost) -> None:
    ended: list[str] = []

    async def forgetful(job: Any, ctx: Any) -> None:
        async def linger() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("linger")

        job.data.append(asyncio.create_task(linger()))
        await asyncio.sleep(0)

    jobhost.register(forgetful)
    jobhost.enqueue("forgetful", [])
    jobhost.run_until_idle()
    jobhost.close()
    assert ended == ["linger"]


def test_monkeypatch_and_caplog_work_on_handlers(
    jobhost: TestHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def price(job: Any, ctx: Any) -> float:
        logging.getLogger("shop").warning("asked")
        return time.time()

    monkeypatch.setattr(time, "time", lambda: 7.0)
    jobhost.register(price)
    job = jobhost.enqueue("price")
    jobhost.run_until_idle()
    assert job.result == 7.0
    assert caplog.messages == ["asked"]


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="give it a time zone"):
        TestHost(now=datetime(2026, 1, 1))  # noqa: DTZ001


def python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_needs_no_pytest(tmp_path: Path) -> None:
    """P1: other test runners have it too."""
    code = """
import sys
sys.modules["pytest"] = None
from jobhost.testing import TestHost
with TestHost() as jobhost:
    jobhost.register(lambda job: job.data + 1, "next")
    job = jobhost.enqueue("next", 1)
    jobhost.run_until_idle()
    print(job.result)
"""
    assert python(code, tmp_path) == "2\n"


def test_the_plugin_costs_nothing_to_those_who_do_not_use_it(tmp_path: Path) -> None:
    code = """
import sys, pytest
before = set(sys.modules)
import jobhost.testing.plugin
print(sorted(set(sys.modules) - before))
"""
    assert python(code, tmp_path) == "['jobhost', 'jobhost.testing', 'jobhost.testing.plugin']\n"


def test_the_fixture_is_there_once_jobhost_is_installed(tmp_path: Path) -> None:
    """P1: no conftest.py is needed, and `jobhost_config` configures."""
    (tmp_path / "test_mine.py").write_text("""
import pytest

@pytest.fixture
def jobhost_config():
    return {"queues": {"default": {"attempts": 1}}}

def fail(job):
    raise ValueError("no")

def test_x(jobhost):
    jobhost.register(fail)
    job = jobhost.enqueue("fail")
    jobhost.run_until_idle()
    assert job.attempts == 1
""")
    code = "import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-W', 'error', 'test_mine.py']))"
    assert "1 passed" in python(code, tmp_path)
