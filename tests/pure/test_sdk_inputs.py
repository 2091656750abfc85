"""G4: data that a handler does not take is refused with the fields that are wrong."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from jobhost_sdk.errors import ConfigurationError, InvalidJobDataError
from jobhost_sdk.inputs import input_check
from pydantic import BaseModel

SCHEMA = {
    "type": "object",
    "required": ["width", "height"],
    "properties": {
        "width": {"type": "integer", "minimum": 1},
        "height": {"type": "integer", "default": 5},
        "items": {"type": "array", "items": {"type": "object", "required": ["id"]}},
    },
}


class Size(BaseModel):
    width: int
    tags: list[str] = []


def fields(check: Any, data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidJobDataError) as caught:
        check(data)
    assert str(caught.value)
    return [(item["field"], item["message"]) for item in caught.value.fields]


def test_a_schema_gives_the_data_as_it_is() -> None:
    check = input_check(SCHEMA)
    assert check(b'{"width": 1, "height": 2, "more": null}') == {"width": 1, "height": 2, "more": None}


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b'{"width": "x", "height": 1}', [("width", "must be integer")]),
        (b'{"width": 0, "height": 1}', [("width", "must be bigger than or equal to 1")]),
        (b"{}", [("width", "is required"), ("height", "is required")]),
        (b'{"width": 1}', [("height", "is required")]),
        (b'{"width": 1, "height": 1, "items": [{"id": 1}, {}]}', [("items[1].id", "is required")]),
        (b"[]", [("", "must be object")]),
    ],
)
def test_a_schema_names_the_fields(data: bytes, want: list[tuple[str, str]]) -> None:
    assert fields(input_check(SCHEMA), data) == want


def test_a_model_gives_its_instance() -> None:
    made = input_check(Size)(b'{"width": 3, "tags": ["a"]}')
    assert isinstance(made, Size)
    assert (made.width, made.tags) == (3, ["a"])


def test_a_model_names_the_fields() -> None:
    assert [field for field, _ in fields(input_check(Size), b'{"tags": ["a", 1]}')] == ["width", "tags[1]"]
    assert fields(input_check(Size), b"[]")[0][0] == ""


def test_data_that_cannot_be_read() -> None:
    assert fields(input_check(SCHEMA), b"{") == []


def test_without_fastjsonschema_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastjsonschema", None)
    with pytest.raises(ConfigurationError, match="needs the package fastjsonschema"):
        input_check(SCHEMA)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (7, "not int"),
        (int, "not type"),
        ({"type": "odd"}, "not a valid JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "may not refer to http"),
    ],
)
def test_what_is_no_input(declared: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        input_check(declared)


def test_many_findings_are_counted() -> None:
    schema = {"type": "object", "required": [f"f{i}" for i in range(9)]}
    with pytest.raises(InvalidJobDataError, match=r"f0: is required; .*\(and 4 more\)"):
        input_check(schema)(b"{}")
