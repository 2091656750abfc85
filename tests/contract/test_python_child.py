"""The Python child as a process, under every interpreter it promises: what a host may rely on, frame by frame."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jobhost_runtimes.process import child_environment
from jobhost_sdk.errors import ProtocolError
from jobhost_sdk.wire import encode_notification, encode_request, encode_result, frame

from tests.wire.driver import LEND, PATIENCE, VERSIONS, Child, child, execute_params, interpreter

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "python"
HANDLERS, AWAITING, SERVICES = FIXTURES / "handlers", FIXTURES / "awaiting", FIXTURES / "services"
SYNC = tuple(path.name for path in sorted(HANDLERS.glob("*.py")))
ASYNC = tuple(path.name for path in sorted(AWAITING.glob("*.py")))

Start = Callable[..., Child]


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"NO PYTHON {request.param} ON THIS MACHINE: the child is not tested on it")
    return found


@pytest.fixture
def blocking(python: str) -> Iterator[Child]:
    """A child of synchronous handlers."""
    with child(HANDLERS, *SYNC, python=python) as one:
        yield one


@pytest.fixture
def looping(python: str) -> Iterator[Child]:
    """A child that has asynchronous handlers, and a synchronous one."""
    with child(AWAITING, *ASYNC, python=python) as one:
        yield one


@pytest.fixture
def here() -> Iterator[Child]:
    """As `blocking`, under this interpreter alone: for what does not depend on it."""
    with child(HANDLERS, *SYNC) as one:
        yield one


# Life


def test_the_handshake(python: str) -> None:
    """E1, E2: names, files, lines, kinds; the versions; a problem for what is broken and nothing for what is none."""
    one = Child(python)
    try:
        said = one.initialize(HANDLERS, ["echo.py", "star.py", "../awaiting/a_echo.py"], later_option=[1])
        assert (said["protocol"], said["pid"]) == (1, one.process.pid)
        assert said["sdk"].startswith("jobhost-sdk-python ")
        assert said["language"].startswith("python 3.")
        assert [(h["name"], h["file"], h["line"], h["kind"]) for h in said["handlers"]] == [
            ("echo", "echo.py", 1, "sync"),
            ("*", "star.py", 4, "sync"),
            ("a_echo", "../awaiting/a_echo.py", 1, "async"),
        ]
        assert said["problems"] == []
        assert one.shut_down() == 0
    finally:
        one.close()


def test_runs_one_after_another_and_all_at_once(blocking: Child) -> None:
    """Trap: one child shared by concurrent jobs. Answers come in the order of their runs."""
    assert blocking.run("echo", {"a": [1, 2.5, None, "é"]}) == {"a": [1, 2.5, None, "é"]}
    assert blocking.run("quick") is None
    runs = [blocking.execute("echo", n) for n in range(300)]
    assert [blocking.result(run) for run in runs] == list(range(300))
    assert list(blocking.answers)[-300:] == runs


def test_falsy_results_are_results(blocking: Child) -> None:
    """Trap: a falsy result turned into nothing."""
    falsy: list[Any] = [0, "", False, [], {}, None]
    assert [blocking.run("echo", value) for value in falsy] == falsy


def test_async_runs_overlap(looping: Child) -> None:
    waiting = [looping.execute("a_wait") for _ in range(5)]
    for run in waiting:
        looping.logged(run, "waiting")
    assert looping.run("a_echo", 7) == 7
    for run in waiting:
        looping.cancel(run)
    assert {looping.error(run)["type"] for run in waiting} == {"CancelledError"}
    assert looping.shut_down() == 0


def test_one_handler_for_all_names(here: Child) -> None:
    """A12: a handler named `*`."""
    params = execute_params("r", "*", None)
    params["job"]["name"] = ""
    here.request("execute", params, "r")
    assert here.result("r") == ""


def test_facts(blocking: Child) -> None:
    """F1: what a handler is told of its job and flow; its working directory; how little is loaded beside it."""
    facts = blocking.run(
        "facts", 1, flow_id="f", flow_name="orders", step_name="s", step_id="f__x__attempt-1", timeout_ms=9
    )
    assert facts["job"] == ["7", "facts", "default", 1, 1, 3, 0, None]
    assert facts["created"] == "2025-10-09T08:53:20.123000+00:00"
    assert facts["deadline"] is True
    assert facts["flow"] == ["f", "orders", "s", "f__x__attempt-1"]
    assert facts["key"] == "default:7:1760000000123"
    assert facts["cwd"] == str(HANDLERS)
    assert facts["rpc"] is None


def test_a_sync_child_loads_little(python: str) -> None:
    """A child's start time is a feature: none of these is imported for a plain handler."""
    with child(HANDLERS, "facts.py", python=python, env=child_environment([])) as one:
        assert one.run("facts")["modules"] == []


def test_ping(looping: Child) -> None:
    assert looping.answer(looping.request("ping", {})).result == {}


# Calls of ctx


def test_state(blocking: Child) -> None:
    """E2, F1: state is asked of the host, and keys come in pages."""
    assert blocking.run("state_tour") == ["missing", None, True, 1, 5, ["k", "n", "other", "third"], True, False]
    scopes = [request.params["scope"] for request in blocking.requests if request.params.get("key") == "third"]
    assert scopes == ["handler"]
    assert {request.params["run"] for request in blocking.requests} == {list(blocking.answers)[-1]}


def test_state_emit_progress_and_children_awaited(looping: Child) -> None:
    looping.state["k2"] = b"1"
    assert looping.run("a_tour") == ["missing", None, True, ["k", "k2"], {"bull:q:1": {"ok": True}}]
    [progress] = [notice.params for notice in looping.notices if notice.method == "ctx.progress"]
    assert progress["value"] == b'{"done":1}'


def test_progress_emit_and_children(blocking: Child) -> None:
    """D5, F5: a refused emit is an exception in the handler."""
    assert blocking.run("calls") == [{"bull:q:1": {"ok": True}}, "FlowError: refused"]
    assert [notice.params["value"] for notice in blocking.notices if notice.method == "ctx.progress"] == [b"50"]
    [emit] = [r.params for r in blocking.requests if r.params.get("trigger") == "made"]
    assert (emit["payload"], emit["key"], emit["immediate"]) == (b'{"id":1}', "k", False)


def test_threads_of_a_handler_call_at_once(blocking: Child) -> None:
    assert blocking.run("threads") == [20] * 8
    run = list(blocking.answers)[-1]
    assert sorted(blocking.lines(run, "stdout")) == [f"thread {n}" for n in range(8)]


def test_more_calls_at_once_than_may_be_open(looping: Child) -> None:
    """More than 1,024 unanswered requests would be a violation; the SDK lets the rest wait."""
    held: list[Any] = []
    looping.serve = None
    run = looping.execute("a_many", 3000)
    looping.until(lambda: len(looping.requests) >= 1000)
    looping.pump(0.05)
    assert len(looping.requests) <= 1024
    held, looping.requests = looping.requests, []
    looping.serve = looping.from_state
    for request in held:
        looping.reply(request)
    assert looping.result(run) == 3000


def test_executes_that_arrive_during_a_call_wait_their_turn(here: Child) -> None:
    here.serve = None
    first = here.execute("state_tour")
    here.until(lambda: here.requests)
    later = [here.execute("echo", n) for n in range(3)]
    here.pump(0.05)
    assert not [run for run in later if run in here.answers]
    here.serve = here.from_state
    here.reply(here.requests[0])
    assert here.result(first)
    assert [here.result(run) for run in later] == [0, 1, 2]


def test_a_run_that_has_ended_reaches_nothing(here: Child) -> None:
    """A thread that outlives its run: its text belongs to no run, its calls are refused."""
    first = here.execute("leftover")
    here.result(first)
    assert here.run("leftover", "collect") == ["RunNotLiveError"]
    assert "late" not in here.lines(first)


def test_a_task_that_outlives_its_run_reaches_nothing(looping: Child) -> None:
    first = looping.execute("a_stray")
    looping.result(first)
    assert looping.run("a_stray", "collect") == ["RunNotLiveError"]
    assert looping.lines(None) == ["stray"]


# Failures


@pytest.mark.parametrize(
    ("how", "type", "retry"),
    [
        ("value", "ValueError", None),
        ("exit", "SystemExit", None),
        ("interrupt", "KeyboardInterrupt", None),
        ("never", "UnrecoverableError", False),
        ("later", "RetryLater", 300_000),
        ("invalid", "InvalidJobDataError", False),
        ("refused", "Refused", None),
        ("recursion", "RecursionError", None),
        ("memory", "MemoryError", None),
    ],
)
def test_a_handler_that_fails(here: Child, how: str, type: str, retry: Any) -> None:
    """G4: typed errors; the child goes on, whatever was raised."""
    error = here.error(here.execute("fail", how))
    assert (error["type"], error["retry"]) == (type, retry)
    assert "jobhost_sdk/" not in error["stack"]
    if how == "invalid":
        assert error["data"] == {"fields": [{"field": "a", "message": "m"}]}
    if how == "refused":
        assert error["data"] == {"status": 402}
    assert here.run("echo", "still here") == "still here"


def test_sys_exit_fails_the_run_alone(blocking: Child, looping: Child) -> None:
    error = blocking.error(blocking.execute("fail", "exit"))
    assert error["message"] == "the handler called sys.exit('enough')"
    assert 'sys.exit("enough")' in error["stack"]
    assert looping.error(looping.execute("a_exit"))["type"] == "SystemExit"
    assert (blocking.run("echo", 1), looping.run("a_echo", 1)) == (1, 1)


def test_os_exit_is_death(here: Child) -> None:
    here.execute("fail", "die")
    with pytest.raises(AssertionError, match="the child has gone: 9"):
        here.until(lambda: False)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("datetime", "result.items[1].when: date is not a JSON value"),
        ("nan", "result: nan is not a JSON value"),
        ("big", "result[0]: an integer beyond ±(2^53-1) is not a JSON value"),
    ],
)
def test_a_result_that_json_cannot_carry(here: Child, what: str, message: str) -> None:
    error = here.error(here.execute("not_json", what))
    assert (error["type"], error["message"], error["retry"]) == ("InvalidValueError", message, False)


def test_a_result_too_large_for_a_frame(python: str) -> None:
    with child(HANDLERS, "not_json.py", "echo.py", python=python, max_frame=1_000_000) as one:
        error = one.error(one.execute("not_json", "huge"))
        assert error["message"] == "result: 2000002 bytes do not fit a frame of 1000000"
        assert one.run("echo", 1) == 1


def test_large_values_both_ways(blocking: Child) -> None:
    """Neither side reads only or writes only: two full pipes never face each other."""
    values = ["x" * 8_000_000, "é" * 2_000_000, "y" * 8_000_000]
    runs = [blocking.execute("echo", value) for value in values]
    assert [blocking.result(run) for run in runs] == values


def test_input_is_checked(python: str) -> None:
    """G4: by a schema, with the fastjsonschema that the host lends."""
    with child(HANDLERS, "checked.py", python=python) as one:
        assert one.run("checked", {"width": 3}) == 3
        error = one.error(one.execute("checked", {"width": "x"}))
        assert (error["type"], error["retry"]) == ("InvalidJobDataError", False)
        assert error["data"]["fields"] == [{"field": "width", "message": "must be integer"}]
        problems = one.answer(one.request("validate", {"handler": "checked", "data": b"{}"})).result["problems"]
        assert json.loads(problems) == [{"field": "width", "message": "is required"}]
        fine = one.answer(one.request("validate", {"handler": "checked", "data": b'{"width":1}'})).result["problems"]
        assert fine == b"[]"


# Cancellation


def test_cancel_reaches_a_busy_sync_handler(blocking: Child) -> None:
    """A sync handler sees `ctx.cancelled` change: SIGURG has it read the wire."""
    run = blocking.execute("busy")
    blocking.logged(run, "busy")
    blocking.cancel(run, "timeout")
    blocking.signal_urgent()
    assert blocking.result(run) == "timeout"


def test_cancel_of_a_run_that_waits_its_turn(blocking: Child) -> None:
    """Also `recall`, which leaves the one that has started alone."""
    first = blocking.execute("busy")
    blocking.logged(first, "busy")
    second, third = blocking.execute("echo", 2), blocking.execute("echo", 3)
    blocking.cancel(first, "recall")
    blocking.cancel(second, "recall")
    blocking.signal_urgent()
    assert blocking.error(second)["type"] == "NotStartedError"
    assert first not in blocking.answers
    blocking.cancel(first)
    blocking.signal_urgent()
    assert blocking.result(first) == "cancelled"
    assert blocking.result(third) == 3


def test_cancel_of_an_async_handler(looping: Child) -> None:
    """Its task is cancelled; its clean-up runs and may call the host; the answer is CancelledError."""
    run = looping.execute("a_wait")
    looping.logged(run, "waiting")
    looping.cancel(run, "shutdown")
    error = looping.error(run)
    assert (error["type"], error["message"]) == ("CancelledError", "the run was cancelled: shutdown")
    assert looping.state["cleaned"] == b"true"
    assert looping.lines(run) == ["waiting", "clean-up"]


def test_a_handler_that_swallows_its_cancellation_goes_on(looping: Child) -> None:
    run = looping.execute("a_swallow")
    looping.logged(run, "waiting")
    looping.cancel(run)
    looping.cancel(run, "again")
    assert looping.result(run) == "went on after cancelled"


def test_a_cancelled_error_of_the_handlers_own_is_a_failure(looping: Child) -> None:
    """Trap: a handler raising CancelledError kills the loop."""
    error = looping.error(looping.execute("a_own_cancel"))
    assert (error["type"], error["message"]) == ("CancelledError", "mine")
    assert looping.run("a_echo", 1) == 1


def test_cancel_reaches_an_async_handler_that_blocks_its_loop(looping: Child) -> None:
    run = looping.execute("a_blocks")
    looping.until(lambda: "started" in looping.state)
    looping.cancel(run)
    looping.signal_urgent()
    assert looping.answer(run)


def test_urgent_signals_lose_nothing(looping: Child) -> None:
    """A signal that comes while the loop sleeps may take the bytes the loop was to wake for."""
    for n in range(200):
        run = looping.execute("a_echo", n)
        looping.signal_urgent()
        assert looping.result(run) == n


def test_cancel_of_what_is_not_live_is_ignored(here: Child) -> None:
    here.cancel("nobody")
    here.send(here.peer.notify("cancel", {}))
    here.send(here.peer.notify("unknown", {}))
    assert here.run("echo", 1) == 1


def test_a_sync_handler_stops_the_loop_and_may_run_its_own(looping: Child) -> None:
    waiting = looping.execute("a_wait")
    looping.logged(waiting, "waiting")
    assert looping.run("s_busy") == [1, "own loop"]
    run = looping.execute("s_busy", "until cancelled")
    looping.logged(run, "busy")
    looping.cancel(waiting)
    looping.cancel(run)
    looping.signal_urgent()
    assert looping.result(run) == [2, "own loop"]
    assert looping.error(waiting)["type"] == "CancelledError"
    assert looping.run("a_echo", "on") == "on"


def test_a_sync_child_runs_loops_of_its_handlers(blocking: Child) -> None:
    assert blocking.run("nested_loop") == 1
    assert blocking.run("nested_loop") == 2


# Output


def test_what_is_printed_becomes_lines(blocking: Child) -> None:
    """Trap: a stray print is swallowed or taken for a reply."""
    run = blocking.execute("talk")
    assert blocking.result(run) == [1, 2, False, ""]
    assert blocking.lines(run, "stdout") == ["one 1", "twobytes é", "three", "unfinished"]
    said = blocking.lines(run, "stderr")
    assert said[0] == " and more"
    assert "UserWarning: careful" in said[1]
    first = next(n.params for n in blocking.notices if n.params["message"] == "one 1")
    assert (first["level"], first["run"], first["fields"]) == ("info", run, None)
    assert list(blocking.answers)[-1] == run  # all lines came before the answer


def test_pythons_logging_becomes_lines(blocking: Child) -> None:
    run = blocking.execute("logs")
    assert blocking.result(run) is None
    lines = [notice.params for notice in blocking.notices if notice.params["source"] == "logging"]
    assert [(line["level"], line["message"].split("\n")[0]) for line in lines] == [
        ("info", "added apple"),
        ("error", "failed"),
    ]
    assert json.loads(lines[0]["fields"]) == {"logger": "shop.cart", "price": 3, "thing": "<class 'object'>"}
    assert lines[1]["message"].endswith("KeyError: 'x'")
    assert "--- Logging error ---" in blocking.lines(run, "stderr")
    assert blocking.lines(run, "handler") == ["mine"]


def test_runs_that_take_turns_do_not_mix(looping: Child) -> None:
    """K1: eight runs print at once; each gets its own lines, and its own unfinished one at its end."""
    runs = {f"run-{n}": looping.execute("a_prints", f"run-{n}") for n in range(8)}
    for name, run in runs.items():
        looping.result(run)
        expected = [f"{name} prints {i}" for i in range(3)]
        assert looping.lines(run, "stdout") == [*expected, f"{name} in a task", f"{name} unfinished"]
        assert looping.lines(run, "logging") == [f"{name} logs {i}" for i in range(3)]
    assert looping.lines(None) == []


def test_nothing_beside_the_sdk_can_touch_the_wire(blocking: Child) -> None:
    """C-level writes to fd 1, and a grandchild that reads 0 and writes 1: all of it is text on fd 2."""
    assert blocking.run("raw_writes") == "the wire is whole"
    assert blocking.shut_down() == 0
    text = blocking.stderr()
    assert "raw one" in text
    assert "raw two" in text
    assert "from a grandchild" in text


@pytest.mark.parametrize("how", ["log", "print"])
def test_a_flood_of_lines_is_bounded_and_counted(blocking: Child, how: str) -> None:
    """Fault: 100,000 lines in one run."""
    run = blocking.execute("flood", how)
    assert blocking.result(run) == "done"
    lines = blocking.lines(run)
    dropped = sum(int(line.split()[0]) for line in lines if line.endswith("log lines dropped"))
    kept = [line for line in lines if line.startswith("line ")]
    assert dropped > 10_000
    assert len(kept) + dropped == 100_000
    assert kept[0] == "line 0"
    # A run on a slow machine may get a token for its very last line; then what was dropped before it has been told already.
    assert lines[-1] == "line 99999" or lines[-1].endswith("log lines dropped")


def test_a_host_that_does_not_read_holds_up_no_logger(python: str) -> None:
    """Never blocks: what the wire will not take is dropped after 256 KiB, and counted."""
    with child(HANDLERS, "flood.py", python=python, log_burst=10**9) as one:
        run = one.execute("flood", "log")
        deadline = time.monotonic() + PATIENCE
        while cpu_ticks(one.process.pid) and not blocked_in_write(one.process.pid):
            assert time.monotonic() < deadline
        assert one.result(run) == "done"
        assert [line for line in one.lines(run) if line.endswith("log lines dropped")]


def cpu_ticks(pid: int) -> bool:
    """Whether the process still uses time."""

    def used() -> int:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = used()
    signal.sigtimedwait([], 0.1)
    return used() != before


def blocked_in_write(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}/wchan").read_text() in ("do_poll", "poll_schedule_timeout")


def test_long_lines_are_cut(here: Child) -> None:
    run = here.execute("long_lines")
    here.result(run)
    assert [len(line) for line in here.lines(run)] == [16384 + 7, 16384 + 7, 16384 + 7]
    assert all(line.endswith("… [cut]") for line in here.lines(run))


# Death and violations


@pytest.mark.parametrize("handler", ["stuck", "busy"])
def test_end_of_file_kills_a_stuck_handler(blocking: Child, handler: str) -> None:
    """Fail closed: the child that sees end of file exits, even with a handler stuck."""
    run = blocking.execute(handler)
    blocking.logged(run, handler)
    blocking.sock.close()
    assert blocking.exit_code() == 1


def test_end_of_file_kills_an_idle_child(python: str) -> None:
    for folder, file in ((HANDLERS, "echo.py"), (AWAITING, "a_echo.py")):
        with child(folder, file, python=python) as one:
            one.sock.close()
            assert one.exit_code() == 1


def test_a_handler_that_closes_every_descriptor_is_seen(here: Child) -> None:
    here.execute("closes")
    with pytest.raises(AssertionError, match="the child has gone"):
        here.until(lambda: False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello, world\n", "frame of 1751477356 bytes announced"),
        (b"\x00\x00\x00\x00", "frame of 0 bytes"),
        (frame(b"\xc1"), "not one MessagePack value"),
        (frame(encode_result(77, None)), "an answer to request 77, which is not open"),
        (frame(encode_request(0, "ping", {})) * 2, "came twice"),
    ],
)
def test_garbage_ends_the_child_with_code_70(here: Child, data: bytes, reason: str) -> None:
    run = here.execute("busy")
    here.logged(run, "busy")
    here.sock.sendall(data)
    here.signal_urgent()
    if "came twice" in reason:
        return  # an answered id may come again, and ping is answered at once: that this is no violation is the point
    assert here.exit_code() == 70
    assert reason in here.stderr()


def test_a_first_frame_that_is_not_initialize_ends_the_child(python: str) -> None:
    for data in (frame(encode_request(0, "ping", {})), frame(encode_notification("cancel", {})), b"GET / HTTP/1.1\r\n"):
        one = Child(python)
        try:
            one.sock.sendall(data)
            assert one.exit_code() == 70
            assert "jobhost child: " in one.stderr()
        finally:
            one.close()


@pytest.mark.parametrize(
    ("method", "params", "type"),
    [
        ("nonsense", {}, "UnknownMethodError"),
        ("initialize", {}, "UnknownMethodError"),
        ("execute", {}, "InvalidParamsError"),
        ("execute", {"run": 1, "handler": [], "job": {}, "context": {}}, "InvalidParamsError"),
        ("execute", execute_params("r", "nobody"), "InvalidParamsError"),
        ("validate", {"handler": "nobody", "data": b"1"}, "InvalidParamsError"),
        ("validate", {"handler": "echo"}, "InvalidParamsError"),
    ],
)
def test_requests_that_make_no_sense_are_refused(here: Child, method: str, params: dict[str, Any], type: str) -> None:
    error = here.answer(here.request(method, params)).error
    assert error is not None
    assert error["type"] == type
    assert here.run("echo", 1) == 1


@pytest.mark.parametrize("key", ["id", "data", "attempt", "created_at"])
def test_a_job_that_lacks_something_is_refused(here: Child, key: str) -> None:
    params = execute_params("r", "echo")
    params["job"][key] = None
    error = here.answer(here.request("execute", params)).error
    assert error is not None
    assert (error["type"], key in error["message"]) == ("InvalidParamsError", True)


def test_a_token_that_is_live_may_not_come_again(here: Child) -> None:
    run = here.execute("busy")
    here.logged(run, "busy")
    again = here.request("execute", execute_params(run, "echo"))
    here.signal_urgent()
    error = here.answer(again).error
    assert error is not None
    assert error["message"] == "the run is live already"


def test_interrupts_are_the_hosts_business(blocking: Child, looping: Child) -> None:
    """L1: Ctrl-C on a terminal reaches the children too; the host drains, so they go on."""
    for one, handler in ((blocking, "echo"), (looping, "a_echo")):
        one.process.send_signal(signal.SIGINT)
        assert one.run(handler, 1) == 1
    run = blocking.execute("busy")
    blocking.logged(run, "busy")
    blocking.process.send_signal(signal.SIGINT)
    blocking.cancel(run)
    blocking.signal_urgent()
    assert blocking.result(run) == "cancelled"


@pytest.mark.parametrize("how", ["exit", "return"])
def test_a_forked_process_has_no_wire(blocking: Child, how: str) -> None:
    """What a handler forks can neither write to the wire nor keep it open; what it prints is text on fd 2."""
    assert blocking.run("forks", how) == "parent goes on"
    assert blocking.shut_down() == 0
    text = blocking.stderr()
    assert "from the fork" in text
    assert "logged in the fork" in text
    assert "refused: RunNotLiveError" in text
    assert "Exception ignored" not in text, "a fork of a fork has nothing left to close"


# Setup


def test_setup_and_teardown(python: str) -> None:
    """A9: once per child, on the loop its handlers run on; what is missing is named."""
    with child(SERVICES, "db.py", "uses.py", "misses.py", python=python) as one:
        assert one.run("db") == 42
        assert one.run("uses") == [42, True]
        error = one.error(one.execute("misses"))
        assert error["type"] == "ConfigurationError"
        assert "no service 'cache'" in error["message"]
        assert "(there are: answer, loop)" in error["message"]
        one.logged(None, "connected")
        assert one.shut_down() == 0
        assert one.lines(None) == ["connected", "closed"]
        assert "printed in setup" in one.stderr()


def test_a_setup_that_fails_is_the_answer(python: str) -> None:
    one = Child(python)
    try:
        bundle = {"root": str(SERVICES), "files": b'["broken_setup.py"]'}
        error = one.answer(one.request("initialize", {"protocol": 1, "bundle": bundle, "options": {}})).error
        assert error is not None
        assert (error["type"], error["message"]) == ("RuntimeError", "no database")
        assert "broken_setup.py" in error["stack"]
    finally:
        one.close()


def test_a_teardown_that_fails_is_said_and_ends_all_the_same(python: str) -> None:
    with child(SERVICES, "plain_setup.py", python=python) as one:
        assert one.run("plain_setup") == 1
        assert one.shut_down() == 0
        assert one.lines(None) == ["first teardown fails", "teardown: ValueError: while closing"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"bundle": {"root": "/tmp", "files": b"{"}},
        {"bundle": {"root": "/tmp", "files": b"[]"}, "options": {"max_frame": 0}},
    ],
)
def test_an_initialize_that_makes_no_sense_is_refused(params: dict[str, Any]) -> None:
    one = Child(env=child_environment([]))
    try:
        error = one.answer(one.request("initialize", {"protocol": 1, **params})).error
        assert error is not None
        assert error["type"] == "ConfigurationError"
        assert one.exit_code() == 70
    finally:
        one.close()


# Environments


def test_the_hosts_environment_is_not_the_childs(python: str, tmp_path: pathlib.Path) -> None:
    """The SDK and msgpack are lent alone: nothing else of the host's site-packages can be imported."""
    (tmp_path / "h.py").write_text(
        "import sys\n"
        "def handler():\n"
        "    def can(name):\n"
        "        try: __import__(name)\n"
        "        except ImportError: return False\n"
        "        return True\n"
        "    return [can(n) for n in ('jobhost', 'structlog', 'msgpack', 'fastjsonschema', 'jobhost_sdk')] + [sys.argv[1:]]\n"
    )
    with child(tmp_path, "h.py", python=interpreter_without_packages(python)) as one:
        assert one.run("h") == [False, False, True, True, True, []]


def interpreter_without_packages(python: str) -> str:
    """The base interpreter instead of this test's own environment, which has all of it."""
    return python if python != sys.executable else os.path.realpath(sys.executable)


def test_the_bundles_own_msgpack_is_what_it_imports(tmp_path: pathlib.Path) -> None:
    """The wire keeps the lent one; a bundle with its own gets that, one without gets the lent one."""
    (tmp_path / "h.py").write_text((HANDLERS / "msgpack_user.py").read_text())
    with child(tmp_path, "h.py", python=os.path.realpath(sys.executable)) as one:
        value, path = one.run("h")
        assert value == [1, {"a": 2}]
        assert path.startswith(LEND["msgpack"])
    own = tmp_path / "msgpack"
    own.mkdir()
    (own / "__init__.py").write_text("def packb(v): return v\ndef unpackb(v): return [v, 'own']\n")
    with child(tmp_path, "h.py", python=os.path.realpath(sys.executable)) as one:
        value, path = one.run("h")
        assert value == [[1, {"a": 2}], "own"]
        assert path == str(own / "__init__.py")


def test_a_virtual_environment_is_entered(tmp_path: pathlib.Path) -> None:
    import venv

    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    [packages] = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    (packages / "only_here.py").write_text("VALUE = 5\n")
    (tmp_path / "h.py").write_text("import only_here\ndef handler(): return only_here.VALUE\n")
    with child(tmp_path, "h.py", python=str(tmp_path / "venv" / "bin" / "python")) as one:
        assert one.run("h") == 5


def test_the_wire_may_be_on_other_descriptors(python: str) -> None:
    """JOBHOST_RPC_FD: one duplex socket, or two pipes."""
    import socket
    import subprocess

    from tests.wire.driver import SDK, Side

    mine, its = socket.socketpair()
    fd = its.fileno()
    process = subprocess.Popen(
        [python, "-I", "-S", str(SDK / "child" / "boot.py"), json.dumps({"lend": LEND})],
        env={"JOBHOST_RPC_FD": f"{fd},{os.dup(fd)}" if False else str(fd)},
        pass_fds=[fd],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    its.close()
    side = Side(mine)
    side.initialize(HANDLERS, ["facts.py", "raw_writes.py"])
    assert side.run("facts")["rpc"] is None
    assert side.run("raw_writes") == "the wire is whole"
    side.answer(side.request("shutdown", {}))
    assert process.wait(PATIENCE) == 0
    mine.close()
    assert process.stdout is not None
    with process.stdout:
        assert b"raw one" in process.stdout.read()


def test_protocol_errors_name_the_version_of_nothing_else() -> None:
    assert issubclass(ProtocolError, Exception)
