"""F1: what a handler reaches through `ctx` and `job`, over a port that only writes down what it is asked."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Awaitable
from datetime import datetime, timezone
from typing import Any

import pytest
from jobhost_sdk import (
    ConfigurationError,
    Context,
    InvalidJobDataError,
    InvalidValueError,
    Job,
    Logger,
    RetryLater,
    Services,
    SetupContext,
    StateLimitError,
    SyncContext,
)
from jobhost_sdk.context import Cancellation
from jobhost_sdk.durations import duration_text, milliseconds, size_in_bytes
from jobhost_sdk.errors import CallError, call_error
from jobhost_sdk.logger import CUT, cut

UTC = timezone.utc  # noqa: UP017 - as the SDK, which knows 3.9
WIRE_JOB = {
    "id": "7",
    "name": "image.resize",
    "queue": "images",
    "data": b'{"width": 640}',
    "attempt": 2,
    "max_attempts": 3,
    "priority": 5,
    "created_at": 1760000000123,
    "metadata": b'{"by":"ada"}',
}
WIRE_CONTEXT = {
    "flow_id": "f-1",
    "flow_name": "orders",
    "step_name": "charge",
    "step_id": "f-1__image.resize__attempt-2",
    "attempt": 2,
    "deadline_ms": 1760000030000,
    "idempotency_key": "images:7:1760000000123",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


class Notes:
    """A port that gives prepared answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.asked.append((method, params))


class SyncNotes(Notes):
    def call(self, method: str, params: dict[str, Any]) -> Any:
        self.asked.append((method, params))
        return self.answers.pop(0)


class AsyncNotes(Notes):
    def call(self, method: str, params: dict[str, Any]) -> Awaitable[Any]:
        async def answer() -> Any:
            self.asked.append((method, params))
            return self.answers.pop(0)

        return answer()


def sync_context(port: SyncNotes, **changes: Any) -> SyncContext:
    return SyncContext(port, Job(WIRE_JOB), {**WIRE_CONTEXT, **changes}, Services(), Cancellation())


def async_context(port: AsyncNotes) -> Context:
    return Context(port, Job(WIRE_JOB), WIRE_CONTEXT, Services(), Cancellation())


# Job and facts


def test_the_job() -> None:
    job = Job(WIRE_JOB)
    assert (job.id, job.name, job.queue, job.attempt, job.max_attempts, job.priority) == (
        "7",
        "image.resize",
        "images",
        2,
        3,
        5,
    )
    assert job.data == {"width": 640}
    assert job.data is job.data
    assert job.created_at == datetime.fromtimestamp(1760000000.123, UTC)
    assert job.metadata == {"by": "ada"}
    assert Job({**WIRE_JOB, "metadata": None}).metadata is None
    assert repr(job) == "<Job '7' 'image.resize' of queue 'images', attempt 2>"


def test_data_that_cannot_be_read_is_invalid_data() -> None:
    with pytest.raises(InvalidJobDataError, match="cannot be read"):
        _ = Job({**WIRE_JOB, "data": b"{"}).data


def test_the_facts_of_a_run() -> None:
    """F1, F2, G6: job, queue, flow, step, attempt; the step id as it is given; the idempotency key."""
    ctx = sync_context(SyncNotes())
    assert ctx.job.queue == "images"
    assert (ctx.attempt, ctx.flow_id, ctx.flow_name, ctx.step_name) == (2, "f-1", "orders", "charge")
    assert ctx.step_id == "f-1__image.resize__attempt-2"
    assert ctx.idempotency_key == "images:7:1760000000123"
    assert str(ctx.traceparent).startswith("00-")
    assert ctx.deadline == datetime.fromtimestamp(1760000030, UTC)
    assert sync_context(SyncNotes(), deadline_ms=None).deadline is None


def test_cancelled() -> None:
    cancellation = Cancellation()
    ctx = SyncContext(SyncNotes(), Job(WIRE_JOB), WIRE_CONTEXT, Services(), cancellation)
    assert (ctx.cancelled, ctx.cancel_reason) == (False, None)
    cancellation.reason = "timeout"
    assert (ctx.cancelled, ctx.cancel_reason) == (True, "timeout")


# State


def test_state_of_a_sync_handler() -> None:
    """E2: ctx.state; a missing value is told from a stored null."""
    port = SyncNotes(None, b"null", b'{"a":1}', None, True, False, 7, {"keys": b'["a"]', "cursor": "x"})
    port.answers.append({"keys": b'["b"]', "cursor": None})
    state = sync_context(port).state
    assert state.get("k", "none") == "none"
    assert state.get("k", "none") is None
    assert state.get("k") == {"a": 1}
    assert state.set("k", [1], ttl="1.5s") is None  # type: ignore[func-returns-value]
    assert state.delete("k") is True
    assert state.has("k") is False
    assert state.incr("n", 3) == 7
    assert state.keys() == ["a", "b"]
    assert port.asked[3] == ("ctx.state.set", {"key": "k", "value": b"[1]", "ttl": 1500, "scope": None})
    assert port.asked[6] == ("ctx.state.incr", {"key": "n", "by": 3, "scope": None})
    assert port.asked[8] == ("ctx.state.keys", {"scope": None, "cursor": "x"})


def test_state_of_an_async_handler() -> None:
    async def main() -> None:
        port = AsyncNotes(None, b"null", None, True, False, 7, {"keys": b"[]", "cursor": None})
        state = async_context(port).state.of("handler")
        assert await state.get("k", "none") == "none"
        assert await state.get("k", "none") is None
        await state.set("k", 1)
        assert await state.delete("k") is True
        assert await state.has("k") is False
        assert await state.incr("n") == 7
        assert await state.keys() == []
        assert {params["scope"] for _, params in port.asked} == {"handler"}

    asyncio.run(main())


def test_state_refuses_before_it_asks() -> None:
    port = SyncNotes()
    state = sync_context(port).state.of("global")
    with pytest.raises(InvalidValueError, match=r"state\['k'\].a: set is not a JSON value"):
        state.set("k", {"a": {1}})
    with pytest.raises(ValueError, match="has no unit"):
        state.set("k", 1, ttl=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key of state is a str"):
        state.get(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="incr adds an int, not bool"):
        state.incr("n", True)
    assert port.asked == []


# Flow, progress, children


def test_emit_progress_and_children() -> None:
    """D5: progress is a number or an object."""
    port = SyncNotes({}, {}, b'{"bull:q:1":[1]}')
    ctx = sync_context(port)
    ctx.flow.emit("image.resized", {"id": 1})
    ctx.flow.emit("image.resized", key="k", immediate=True)
    ctx.progress(50)
    ctx.progress({"done": 1})
    assert ctx.children() == {"bull:q:1": [1]}
    plain = {"trigger": "image.resized", "payload": b'{"id":1}', "key": None, "immediate": False}
    assert port.asked == [
        ("ctx.flow.emit", plain),
        ("ctx.flow.emit", {**plain, "payload": b"null", "key": "k", "immediate": True}),
        ("ctx.progress", {"value": b"50"}),
        ("ctx.progress", {"value": b'{"done":1}'}),
        ("job.children", {}),
    ]


def test_emit_progress_and_children_awaited() -> None:
    async def main() -> None:
        port = AsyncNotes({}, b"{}")
        ctx = async_context(port)
        await ctx.flow.emit("t", 1)
        await ctx.progress(1)
        ctx.progress(2)  # sent as well: it has nothing to wait for
        assert await ctx.children() == {}
        assert [method for method, _ in port.asked] == ["ctx.flow.emit", "ctx.progress", "ctx.progress", "job.children"]

    asyncio.run(main())


def test_emit_refuses_what_is_wrong() -> None:
    ctx = sync_context(SyncNotes())
    with pytest.raises(InvalidValueError, match="payload: object is not a JSON value"):
        ctx.flow.emit("t", object())
    with pytest.raises(TypeError, match="a trigger is a str"):
        ctx.flow.emit(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the key of an emit"):
        ctx.flow.emit("t", key=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="progress: nan"):
        ctx.progress(float("nan"))


# Logger


def logged(port: Notes) -> list[tuple[str, str, Any]]:
    return [
        (params["level"], params["message"], json.loads(params["fields"]) if params["fields"] else None)
        for _, params in port.asked
    ]


def test_the_logger() -> None:
    port = SyncNotes()
    logger = Logger(port)
    logger.debug("d")
    logger.info("i", width=640, message="a field")
    logger.warning(7)
    logger.error("e", when=datetime(2026, 1, 1, tzinfo=UTC))
    logger.log("fatal", "unknown levels are info", {"a": 1})
    logger.log("error", "x")
    assert logged(port) == [
        ("debug", "d", None),
        ("info", "i", {"width": 640, "message": "a field"}),
        ("warning", "7", None),
        ("error", "e", {"when": "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"}),
        ("info", "unknown levels are info", {"a": 1}),
        ("error", "x", None),
    ]
    assert {params["source"] for _, params in port.asked} == {"handler"}
    assert all(params["ts"] > 1_700_000_000_000 for _, params in port.asked)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Broken(SyncNotes):
    def notify(self, method: str, params: dict[str, Any]) -> None:
        raise OSError("gone")


def test_the_logger_never_raises() -> None:
    Logger(Broken()).info("x")
    port = SyncNotes()
    Logger(port).info(Hostile())
    Logger(port).info("shown", field=Hostile(), surrogate="\ud800", level=[1])
    assert logged(port) == [("info", "shown", {"field": "<Hostile>", "surrogate": "?", "level": [1]})]


def test_long_lines_are_cut_with_a_mark() -> None:
    port = SyncNotes()
    Logger(port, 10).info("é" * 10, big="x" * 100)
    assert logged(port) == [("info", "é" * 5 + CUT, {"fields": "110 bytes, dropped"})]
    assert cut("é" * 5, 10) == "é" * 5
    assert cut("a" * 11, 10) == "a" * 10 + CUT
    assert cut("\ud800x", 10) == "?x"


# Services


def test_services_say_what_is_missing() -> None:
    """A9: injected services, failing clearly when one is missing."""
    services = Services()
    with pytest.raises(ConfigurationError, match=r"no service 'db'.*none was set up"):
        _ = services.db
    services.cache = 1
    services.mail = 2
    with pytest.raises(ConfigurationError, match=r"ctx.services.db \(there are: cache, mail\)"):
        _ = services.db
    assert services.cache == 1
    assert "cache" in services
    assert "db" not in services
    assert (services.get("db"), services.get("mail")) == (None, 2)
    assert vars(pickle.loads(pickle.dumps(services))) == {"cache": 1, "mail": 2}


def test_setup_has_services_and_a_logger() -> None:
    port = SyncNotes()
    ctx = SetupContext(Services(), port)
    ctx.services.x = 1
    ctx.logger.info("connected")
    assert logged(port) == [("info", "connected", None)]


# Errors and durations


def test_errors_of_calls_have_their_class() -> None:
    error = call_error({"type": "StateLimitError", "message": "too large", "data": None})
    assert isinstance(error, StateLimitError)
    assert (str(error), error.type) == ("too large", "StateLimitError")
    other = call_error({"type": "SomethingNew"})
    assert type(other) is CallError
    assert (str(other), other.type) == (
        "The host refused a call of `ctx`. `type` is the name of the error the host gave.",
        "SomethingNew",
    )


def test_retry_later_takes_a_duration() -> None:
    assert RetryLater("5m").delay_ms == 300_000
    with pytest.raises(ValueError, match='write "5s" for seconds'):
        RetryLater(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), (" 1.5 s ", 1500), ("2m", 120_000), ("1h", 3_600_000), ("7d", 604_800_000)]
)
def test_durations(text: str, ms: int) -> None:
    """Trap: milliseconds here, seconds there. Durations carry units."""
    assert milliseconds(text) == ms


@pytest.mark.parametrize("text", [5, 1.5, True, None, "", "5", "s", "-1s", "5 minutes", "٣s", "1e3s"])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError):
        milliseconds(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("64KiB", 65536), ("1.5MiB", 1572864), ("2kB", 2000), ("1GiB", 2**30)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", [5, "5", "5M", True])
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(ValueError):
        size_in_bytes(text)


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0ms"), (999, "999ms"), (1500, "1.5s"), (120_000, "2m"), (86_400_000, "1d")]
)
def test_durations_written(ms: int, text: str) -> None:
    assert duration_text(ms) == text


def test_names_are_imported_when_they_are_used() -> None:
    import jobhost_sdk

    for name in jobhost_sdk.__all__:
        assert getattr(jobhost_sdk, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jobhost_sdk.nothing
