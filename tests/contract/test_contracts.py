"""What a handler declares of its values is held by whatever runs it: input, result and the payloads of emits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.seam import Backend
from jobhost_sdk import handler
from pydantic import BaseModel

from .functions import serving as serving_functions
from .hosting import Hosted, error_of, hosted, result_of

pytestmark = pytest.mark.anyio
FIXTURES = Path(__file__).parent.parent / "fixtures" / "contracts"
RUNTIMES: dict[str, dict[str, Any]] = {
    "in-process": {"path": FIXTURES / "python", "isolation": "none"},
    "python": {"path": FIXTURES / "python"},
    "python, fresh": {"path": FIXTURES / "python", "pool": {"reuse": "never", "children": 1}},
    "node": {"path": FIXTURES / "node"},
}
PYTHON = [name for name in RUNTIMES if name != "node"]
GOOD = {"items": [{"price": 1}, {"price": 2.5}]}
BAD = {"items": [{"price": 1}, {"price": 2}, {"price": 3}, {"price": "dear"}]}


@pytest.fixture(params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> dict[str, Any]:
    return RUNTIMES[request.param]


@pytest.fixture
async def serving(runtime: dict[str, Any]) -> AsyncIterator[Hosted]:
    async with hosted(MemoryBackend(), runtime) as serving:
        assert serving.host.catalogue.problems == []
        yield serving


def is_python(serving: Hosted) -> bool:
    return serving.host.catalogue.entries[0].language == "python"


async def test_a_result_that_its_schema_refuses_fails_at_once_with_the_field(serving: Hosted) -> None:
    """G4: the result is checked in the SDK; no retry; the message says that it is the result that was refused."""
    for name in ("quote", "quote_async") if is_python(serving) else ("quote",):
        assert result_of(await serving.run(name, GOOD)) == GOOD
        job = await serving.run(name, BAD, attempts=5)
        error = error_of(job)
        assert (job.state, job.attempts_made, error["type"]) == ("failed", 1, "InvalidJobDataError")
        assert error["origin"] == "handler"
        [field] = error["fields"]
        assert field["field"] == "result.items[3].price"
        assert field["message"]
        assert error["message"] == f"the result was refused: result.items[3].price: {field['message']}"


async def test_a_payload_that_its_schema_refuses_raises_at_the_emit(serving: Hosted) -> None:
    """G4: the handler may catch it; if it does not the job fails at once, and nothing is emitted."""
    assert result_of(await serving.run("pay", {"total": 7})) == "paid"
    message, fields = result_of(await serving.run("pay", {"catch": True}))
    assert [field["field"] for field in fields] == ["payload.total"]
    assert "order.paid" in message
    assert message.endswith(f" was refused: payload.total: {fields[0]['message']}")
    job = await serving.run("pay", {"total": 1.5}, attempts=5, id="refused")
    error = error_of(job)
    assert (job.state, job.attempts_made, error["type"]) == ("failed", 1, "InvalidJobDataError")
    assert [field["field"] for field in error["fields"]] == ["payload.total"]
    assert job.flow_id is not None
    events = await serving.backend.flow_events(job.flow_id)
    assert "step.emitted" not in [event.type for event in events]


async def test_a_trigger_that_is_not_declared_is_refused_as_before(serving: Hosted) -> None:
    """G4, F5: the table of `emits` is also the list of what may be emitted."""
    entry = serving.host.catalogue.named("pay")
    assert entry is not None
    assert entry.settings.flow is not None
    assert list(entry.settings.flow.emits) == ["order.paid", "order.noted"]
    assert entry.listing()["flow"]["emits"] == ["order.paid", "order.noted"]
    assert entry.schemas()["emits"]["order.paid"]["required"] == ["total"]


async def test_schemas_of_the_file_count_over_those_of_the_code(runtime: dict[str, Any]) -> None:
    """G4: `input`, `result` and the payloads of `emits` in `[handlers."NAME"]`, and `true` to take anything."""
    handlers = {
        "plain": {
            "input": {"type": "object", "required": ["n"]},
            "result": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "flow": {"name": "plain", "emits": {"plain.done": {"type": "string"}}},
        },
        "quote": {"result": True, "input": True},
        "pay": {"flow": {"name": "pay", "emits": ["order.paid", "order.noted"]}},
    }
    async with hosted(MemoryBackend(), runtime, handlers=handlers) as serving:
        assert serving.host.catalogue.problems == []
        assert result_of(await serving.run("plain", {"n": 1, "emit": "text"})) == {"n": 1, "emit": "text"}
        missing, wrong, loud = [
            error_of(await serving.run("plain", data)) for data in ({"m": 1}, {"n": "x"}, {"n": 1, "emit": 5})
        ]
        assert [error["fields"][0]["field"] for error in (missing, wrong, loud)] == ["n", "result.n", "payload"]
        assert result_of(await serving.run("quote", BAD)) == BAD
        assert result_of(await serving.run("quote", {"nothing": []})) == {"nothing": []}
        assert result_of(await serving.run("pay", {"total": "much"})) == "paid"


async def test_what_the_file_says_of_every_name_holds_for_one_processor(runtime: dict[str, Any]) -> None:
    """G4, A12: `[handlers."*"]` beside `job = "*"`."""
    path = next(runtime["path"].glob("plain.*"))
    table = {**runtime, "path": path, "job": "*"}
    async with hosted(MemoryBackend(), table, handlers={"*": {"input": {"type": "integer"}}}) as serving:
        assert result_of(await serving.run("anything", 1)) == 1
        assert error_of(await serving.run("other", "1"))["type"] == "InvalidJobDataError"


@pytest.mark.parametrize("runtime", PYTHON, indirect=True)
async def test_a_handler_whose_schema_in_the_file_is_wrong_is_not_served(runtime: dict[str, Any]) -> None:
    """G4: unchecked data must not reach it; the rest of its bundle is served."""
    handlers = {"plain": {"result": {"$ref": "http://127.0.0.1:9/x.json"}}}
    async with hosted(MemoryBackend(), runtime, handlers=handlers) as serving:
        assert "plain" not in serving.host.catalogue.names()
        assert "quote" in serving.host.catalogue.names()
        [problem] = serving.host.catalogue.problems
        assert "plain" in problem.file
        assert "of the host's file: result is not a valid JSON Schema" in problem.error


class Line(BaseModel):
    name: str
    price: float = 1.0


class Cart(BaseModel):
    lines: list[Line]


async def test_pydantic_models(store: Backend) -> None:
    """G4: `job.data` is the model's instance, a returned instance becomes JSON, and so does an emitted one."""

    @handler("cart", input=Cart, result=Line, flow={"name": "carts", "emits": {"cart.seen": Cart}})
    def cart(job: Any, ctx: Any) -> Any:
        assert isinstance(job.data, Cart)
        ctx.flow.emit("cart.seen", job.data)
        first = job.data.lines[0]
        if first.name == "plain":
            return {"name": "plain", "price": 2}
        return {"name": "x", "price": "dear"} if first.name == "bad" else first

    @handler("seen", flow={"name": "carts", "subscribes": ["cart.seen"]})
    def seen(job: Any, ctx: Any) -> Any:
        return job.data

    async with serving_functions(store, {"cart": cart, "seen": seen}) as host:
        assert result_of(await host.run("cart", {"lines": [{"name": "a"}]})) == {"name": "a", "price": 1.0}
        assert result_of(await host.run("cart", {"lines": [{"name": "plain"}]})) == {"name": "plain", "price": 2}
        job = await host.run("cart", {"lines": [{"name": "bad"}]}, attempts=4)
        assert (job.attempts_made, error_of(job)["fields"][0]["field"]) == (1, "result.price")
        refused = error_of(await host.run("cart", {"lines": [{"price": 1}]}))
        assert [field["field"] for field in refused["fields"]] == ["lines[0].name"]
        jobs, _ = await store.jobs("default")
        got = [await host.done(job.id) for job in jobs if job.name == "seen"]
        assert [result_of(job) for job in got][-1] == {"lines": [{"name": "a", "price": 1.0}]}
        entry = host.host.catalogue.named("cart")
        assert entry is not None
        assert entry.schemas()["input"]["required"] == ["lines"]
        assert entry.schemas()["result"]["title"] == "Line"


async def test_the_file_can_narrow_a_model_and_leaves_its_instance(store: Backend) -> None:
    """G4: a schema of the file beside a model of the code: both count, and `job.data` stays the instance."""

    def cart(job: Any, ctx: Any) -> Any:
        return job.data.lines[0]

    short = {"properties": {"lines": {"type": "array", "maxItems": 1}}}
    cheap = {"properties": {"price": {"type": "number", "maximum": 10}}}
    handlers = {"cart": {"input": short, "result": cheap}}
    async with serving_functions(store, {"cart": (cart, {"input": Cart, "result": Line})}, handlers=handlers) as host:
        one = {"name": "a", "price": 2.0}
        assert result_of(await host.run("cart", {"lines": [one]})) == one
        errors = [
            error_of(await host.run("cart", {"lines": lines}))
            for lines in ([one, one], [{"price": 1}], [{"name": "b", "price": 11}])
        ]
        assert [error["fields"][0]["field"] for error in errors] == ["lines", "lines[0].name", "result.price"]
