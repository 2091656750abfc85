"""G4: what a handler gives away is refused with the fields that are wrong."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from jobhost_sdk.contracts import Contract, contract_of, tell
from jobhost_sdk.errors import ConfigurationError, InvalidJobDataError, InvalidValueError
from jobhost_sdk.outputs import output_check
from pydantic import BaseModel, Field

SCHEMA = {
    "type": "object",
    "required": ["total"],
    "properties": {"items": {"type": "array", "items": {"required": ["price"], "type": "object"}}},
}


class Bill(BaseModel):
    total: int
    due: date = Field(default=date(2026, 1, 31), alias="dueDate")


class Odd(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    what: Callable[..., Any] | None = None
    kind: enum.Enum | None = None


def check(declared: Any) -> Any:
    return output_check(declared, "result", "the result", "result")


def fields(declared: Any, value: Any) -> list[str]:
    with pytest.raises(InvalidJobDataError) as caught:
        check(declared)(value)
    assert str(caught.value).startswith("the result was refused: result")
    return [item["field"] for item in caught.value.fields]


def test_a_schema_gives_the_value_as_json() -> None:
    assert check(SCHEMA)({"total": 1, "items": ({"price": 2},)}) == b'{"total":1,"items":[{"price":2}]}'
    assert check(True)([None]) == b"[null]"


def test_a_schema_names_the_fields() -> None:
    assert fields(SCHEMA, {"items": []}) == ["result.total"]
    assert fields(SCHEMA, {"total": 1, "items": [{"price": 1}, {}]}) == ["result.items[1].price"]
    assert fields(SCHEMA, None) == ["result"]
    assert fields({"type": "array", "items": {"type": "string"}}, ["a", 1]) == ["result[1]"]


def test_a_model_gives_its_json_by_alias() -> None:
    assert check(Bill)(Bill(total=3)) == b'{"total":3,"dueDate":"2026-01-31"}'
    assert check(Bill)({"total": 3}) == b'{"total":3}'
    assert fields(Bill, {"total": "x"}) == ["result.total"]
    assert fields(Bill, None) == ["result"]


def test_a_schema_beside_a_model_sees_what_the_model_makes() -> None:
    both = ({"properties": {"dueDate": {"type": "string"}, "total": {"maximum": 5}}}, Bill)
    assert check(both)(Bill(total=5)) == b'{"total":5,"dueDate":"2026-01-31"}'
    assert fields(both, Bill(total=6)) == ["result.total"]


def test_what_json_cannot_carry_has_its_path_as_ever() -> None:
    for declared in (SCHEMA, Bill):
        with pytest.raises(InvalidValueError, match=r"result\.items\[0\]: date is not a JSON value"):
            check(declared)({"total": 1, "items": [date(2026, 1, 1)]})


def test_what_is_neither() -> None:
    with pytest.raises(ConfigurationError, match="result is a JSON Schema"):
        check(7)
    with pytest.raises(ConfigurationError, match=r"emits\.a is a JSON Schema .*, not int"):
        Contract(emits={"a": 7})
    with pytest.raises(ConfigurationError, match="emits is a list of triggers"):
        contract_of({"flow": {"emits": {7: None}}})


def test_what_is_told() -> None:
    """The JSON Schema of a model, in the mode it is used in; true where JSON can't carry it, or there is none."""
    settings: dict[str, Any] = {"input": Bill, "result": Bill, "queue": "q", "flow": {"emits": {"a": None, "b": Bill}}}
    contract = contract_of(settings)
    told = tell(settings, contract)
    assert told["input"]["required"] == ["total"]
    assert told["result"]["properties"]["dueDate"]["format"] == "date"
    assert told["flow"]["emits"]["a"] is None
    assert told["flow"]["emits"]["b"]["title"] == "Bill"
    assert told["queue"] == "q"
    assert Contract(Odd, {"description": date}).told() == {"input": True, "result": True}
    assert Contract({"maximum": 2**63}).told() == {"input": True}
    plain = {"queue": "q"}
    assert tell(plain, contract_of(dict(plain))) == plain
