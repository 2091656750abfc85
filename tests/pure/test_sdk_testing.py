"""`jobhost_sdk.testing`: one handler in a test, without a host, and as a host would run it."""

from __future__ import annotations

import asyncio
import datetime
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jobhost.testing import TestHost
from jobhost_sdk import (
    MISSING,
    CancelledError,
    ConfigurationError,
    FlowError,
    Handler,
    InvalidJobDataError,
    InvalidValueError,
    RetryLater,
    RunNotLiveError,
    StateLimitError,
    StateScopeError,
    StateTypeError,
    handler,
)
from jobhost_sdk.testing import Emit, Log, Store, run, run_async

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kit"


def double(job: Any) -> Any:
    return job.data * 2


@handler("order.place", queue="orders", attempts=5, flow={"name": "orders", "step": "place", "emits": ["placed"]})
async def place(job: Any, ctx: Any) -> Any:
    ctx.logger.info("placing", customer=job.data["customer"])
    await ctx.progress(50)
    await ctx.state.set("order", job.data)
    await ctx.flow.emit("placed", {"total": 3}, key="a")
    return job.data["customer"], ctx.step_id


# What comes back ------------------------------------------------------------------------------------------------------


def test_what_a_handler_does_is_kept() -> None:
    """P1: result, logs, progress, emits and state of one run, with no host."""
    ran = run(place, {"customer": "Ada"}, flow_id="f1")
    assert ran.result == ["Ada", "f1__order.place__attempt-1"]
    assert ran.logs == [Log("info", "placing", {"customer": "Ada"})]
    assert ran.progress == [50]
    assert ran.emits == [Emit("placed", {"total": 3}, key="a")]
    assert ran.state == {"order": {"customer": "Ada"}}
    assert ran.error is None
    assert repr(ran) == "<Ran ['Ada', 'f1__order.place__attempt-1'], 1 log lines, 1 emits>"


def test_handlers_of_every_form() -> None:
    class Triple(Handler):
        def run(self, job: Any, ctx: Any) -> Any:
            return job.data * 3

    assert run(double, 2).result == 4
    assert run(Triple, 2).result == 6
    assert run(lambda: None).result is None
    assert run(FIXTURES / "python" / "counting.py").result == 1
    assert run(FIXTURES / "python" / "counting.py").result == 1  # loaded anew


def test_the_job_is_what_the_test_says() -> None:
    def facts(job: Any, ctx: Any) -> Any:
        return [
            job.id,
            job.name,
            job.queue,
            job.attempt,
            job.max_attempts,
            job.priority,
            job.metadata,
            ctx.idempotency_key,
        ]

    ran = run(
        facts, id="7", name="n", queue="q", attempt=2, max_attempts=9, priority=1, metadata={"a": 1}, created_at=12
    )
    assert ran.result == ["7", "n", "q", 2, 9, 1, {"a": 1}, "q:7:12"]
    told = run(place, {"customer": 1})
    assert told.result[1] is None  # of no flow
    assert run(handler("x", queue="mail")(facts)).result[:3] == ["1", "x", "mail"]


@pytest.mark.anyio
async def test_coroutines_await_it() -> None:
    assert (await run_async(place, {"customer": "Ada"})).result[0] == "Ada"
    assert (await run_async(double, 2)).result == 4


# The same checks as in a real run --------------------------------------------------------------------------------------


def test_what_json_cannot_carry_fails_with_its_path() -> None:
    """P1: as in a real run, with the same words."""
    ran = run(lambda: {"items": [{"when": datetime.date(2026, 1, 1)}]})
    with pytest.raises(InvalidValueError, match=r"result\.items\[0\]\.when: date is not a JSON value"):
        _ = ran.result
    with pytest.raises(InvalidValueError, match="data"):
        run(double, {1})

    def store(job: Any, ctx: Any) -> None:
        ctx.state.set("k", float("nan"))

    assert "nan is not a JSON value" in str(run(store).error)


def test_an_emit_that_is_not_declared_raises() -> None:
    """P1"""

    @handler(flow={"name": "orders", "emits": ["placed"]})
    def wrong(job: Any, ctx: Any) -> None:
        ctx.flow.emit("palced")

    error = run(wrong).error
    assert isinstance(error, FlowError)
    assert str(error) == "wrong may not emit 'palced': its flow says emits = ['placed']"
    for trigger in ("step:x", "", "x" * 257):
        assert type(run(lambda job, ctx, trigger=trigger: ctx.flow.emit(trigger)).error).__name__.startswith("Flow")


def test_input_is_checked() -> None:
    """P1"""
    wants = handler("x", input={"type": "object", "required": ["a"]})(double)
    ran = run(wants, {})
    assert isinstance(ran.error, InvalidJobDataError)
    assert ran.error.fields == [{"field": "a", "message": "is required"}]


def test_a_run_that_fails_emits_only_what_was_immediate() -> None:
    def fails(job: Any, ctx: Any) -> None:
        ctx.flow.emit("later", 1)
        ctx.flow.emit("now", 2, immediate=True)
        ctx.flow.start("other", 3)
        raise RetryLater("5m")

    ran = run(fails)
    assert ran.emits == [Emit("now", 2, immediate=True)]
    assert [emit.trigger for emit in ran.emitted] == ["later", "now", "other"]
    assert ran.emitted[2].starts
    with pytest.raises(RetryLater):
        _ = ran.result


def test_a_run_that_is_over_reaches_nothing() -> None:
    kept: list[Any] = []
    ran = run(lambda job, ctx: kept.append(ctx))
    kept[0].logger.info("too late")
    assert ran.logs == []
    with pytest.raises(RunNotLiveError):
        kept[0].state.get("x")


# State ----------------------------------------------------------------------------------------------------------------


def script(state: Any) -> list[Any]:
    """Most of what state can do."""
    missing = object()
    return [
        state.get("a", "none"),
        state.set("a", None),
        state.get("a", "none"),
        state.has("a"),
        state.delete("a"),
        state.delete("a"),
        state.incr("n"),
        state.incr("n", 4),
        state.compare_and_set("c", MISSING, {"x": 1}),
        state.compare_and_set("c", MISSING, 2),
        state.compare_and_set("c", {"x": 1}, 3),
        state.compare_and_set("n", 5, MISSING),
        state.batch([("set", "s", 1), ("incr", "s", 2), ("delete", "c"), ("delete", "c"), ("incr", "new")]),
        state.keys(),
        state.get("never") is missing,
        _error(lambda: state.set("text", "t") or state.incr("text")),
        _error(lambda: state.batch([("set", "half", 1), ("incr", "text")])),
        state.has("half"),
        _error(lambda: state.batch([])),
        _error(lambda: state.batch([("delete", "x")] * 101)),
        _error(lambda: state.set("", 1)),
        _error(lambda: state.set("k" * 1025, 1)),
        _error(lambda: state.set("big", "x" * 1024 * 1024)),
        _error(lambda: state.incr("n", 2**53 - 1) and state.incr("n", 1)),
        _error(lambda: state.of("flow").get("x")),
        _error(lambda: state.of("nowhere").get("x")),
        state.of("global").incr("shared"),
        state.of("handler").set("own", [1]),
        state.set("gone", 1, ttl="1ms"),
        _error(lambda: time.sleep(0.005)),
        state.get("gone", "passed"),
        state.keys(),
    ]


def _error(call: Any) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whichever it is, it is compared
        return type(error).__name__
    return "none"


def test_state_does_what_a_host_does() -> None:
    """P1: the kit's store and the host's answer the same script alike."""

    def scripted(job: Any, ctx: Any) -> Any:
        return script(ctx.state)

    ours = run(scripted)
    with TestHost() as jobhost:
        jobhost.register(scripted)
        job = jobhost.enqueue("scripted")
        jobhost.run_until_idle()
        theirs = job.result
    assert ours.result[:30] == theirs[:30]  # then a value passes away, for which the host's clock does not move
    assert ours.result[30] == "passed"
    assert ours.result[31] == ["n", "new", "s", "text"]
    assert ours.store.values("global") == {"shared": 1}


def test_a_second_attempt_goes_on_from_the_state_of_the_first() -> None:
    """P1: resuming is testable."""

    def counting(job: Any, ctx: Any) -> int:
        for n in range(ctx.state.get("done", 0), 4):
            if n == 2 and job.attempt == 1:
                raise OSError("gone")
            ctx.state.set("done", n + 1)
            ctx.progress(n)
        return int(ctx.state.get("done"))

    first = run(counting)
    assert isinstance(first.error, OSError)
    assert first.state == {"done": 2}
    second = run(counting, state=first.store, attempt=2)
    assert (second.result, second.progress) == (4, [2, 3])
    assert run(counting, state={"done": 3}).progress == [3]


def test_stores_can_be_given_and_told_the_time() -> None:
    def keep(job: Any, ctx: Any) -> Any:
        ctx.state.set("brief", 1, ttl="1h")
        return ctx.state.of("global").get("limit")

    store = Store()
    store.put({"limit": 5}, "global")
    assert run(keep, state=store).result == 5
    assert store.values() == {"brief": 1}
    store.advance("1h")
    assert store.values() == {}


def test_a_scope_may_be_refused_and_errors_are_those_of_the_sdk() -> None:
    def reach(job: Any, ctx: Any) -> None:
        ctx.state.of("global").get("x")

    assert isinstance(run(reach, state=Store(scopes=("job", "flow"))).error, StateScopeError)
    assert isinstance(run(lambda job, ctx: ctx.state.incr("x"), state={"x": "t"}).error, StateTypeError)
    assert isinstance(run(lambda job, ctx: ctx.state.get("")).error, StateLimitError)


def test_children_and_services_are_the_tests() -> None:
    async def gather(job: Any, ctx: Any) -> Any:
        return [await ctx.children(), ctx.services.rate]

    assert run(gather, children={"a": 1}, services={"rate": 2}).result == [{"a": 1}, 2]
    assert isinstance(run(gather).error, ConfigurationError)


def test_the_setup_of_a_file_makes_its_services(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text("""
async def setup(ctx):
    ctx.services.closed = []
    return {"rate": 3}

def teardown(ctx):
    ctx.services.closed.append("teardown")

def handler(job, ctx):
    job.data.append(ctx.services.closed)
    return ctx.services.rate
""")
    assert run(file, []).result == 3
    assert run(file, [], services={"rate": 4, "closed": []}).result == 4


def test_files_that_hold_no_or_several_handlers_are_told(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from jobhost_sdk import handler\n@handler('a')\ndef a(): return 1\n@handler('b')\ndef b(): return 2\n"
    )
    (tmp_path / "none.py").write_text("x = 1\n")
    assert run(tmp_path / "two.py", name="b").result == 2
    with pytest.raises(ConfigurationError, match="say name=, one of a, b"):
        run(tmp_path / "two.py")
    with pytest.raises(ConfigurationError, match="holds 0 handlers"):
        run(tmp_path / "none.py")
    with pytest.raises(ConfigurationError, match=r"broken\.py:1: ZeroDivisionError"):
        run(FIXTURES / "bad_python" / "broken.py")


# Cancellation ------------------------------------------------------------------------------------------------------------


def test_the_test_cancels_when_it_wants() -> None:
    """P1: at a known point, without sleeping."""

    async def counting(job: Any, ctx: Any) -> None:
        for n in range(100):
            await ctx.progress(n)
            await asyncio.sleep(0)

    ran = run(counting, cancel_when=lambda ran: ran.progress[-1:] == [3])
    assert ran.progress == [0, 1, 2, 3]
    assert isinstance(ran.error, CancelledError)
    assert ran.error.reason == ran.cancelled == "cancelled"


def test_a_blocking_handler_sees_that_it_is_cancelled() -> None:
    def counting(job: Any, ctx: Any) -> Any:
        n = 0
        while not ctx.cancelled:
            ctx.progress(n)
            n += 1
        return ctx.cancel_reason

    ran = run(counting, cancel_when=lambda ran: len(ran.progress) == 3)
    assert (ran.result, ran.progress) == ("cancelled", [0, 1, 2])


def test_timeouts() -> None:
    async def hang(job: Any, ctx: Any) -> None:
        assert ctx.deadline is not None
        await asyncio.Event().wait()

    def spin(job: Any, ctx: Any) -> Any:
        while not ctx.cancelled:
            time.sleep(0.001)
        return ctx.cancel_reason

    ran = run(hang, timeout="20ms")
    assert isinstance(ran.error, CancelledError)
    assert ran.cancelled == "timeout"
    assert run(spin, timeout="20ms").result == "timeout"


def test_a_cancellation_of_the_handlers_own_is_a_failure() -> None:
    async def odd() -> None:
        raise asyncio.CancelledError

    ran = run(odd)
    assert isinstance(ran.error, asyncio.CancelledError)
    assert ran.cancelled is None


def test_sys_exit_fails_the_run_alone() -> None:
    assert isinstance(run(lambda: sys.exit(3)).error, SystemExit)


def test_it_needs_neither_jobhost_nor_asyncio(tmp_path: Path) -> None:
    """P1: the SDK alone is enough, and light."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['jobhost', 'jobhost_runtimes', 'msgpack']))\n"
        "from jobhost_sdk.testing import run\nprint(run(lambda job: job.data, 5).result, 'asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "5 False\n", done.stderr


def test_payloads_and_results_are_checked() -> None:
    """P1, G4: as in a real run."""
    paid = {"type": "object", "required": ["total"]}

    @handler("pay", flow={"name": "orders", "emits": {"paid": paid}}, result={"type": "string"})
    def pay(job: Any, ctx: Any) -> Any:
        ctx.flow.emit("paid", job.data)
        return job.data["text"]

    ran = run(pay, {"total": 1, "text": "ok"})
    assert (ran.result, [emit.trigger for emit in ran.emits]) == ("ok", ["paid"])
    for data, field in (({"text": "ok"}, "payload.total"), ({"total": 1, "text": 2}, "result")):
        error = run(pay, data).error
        assert isinstance(error, InvalidJobDataError)
        assert field in str(error)
