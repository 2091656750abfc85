"""Schemas and models: what they say of a value, and how they are told to others.

A dict or a bool is a JSON Schema, compiled by `fastjsonschema` (the host lends it where the bundle's environment has none). A
class with `model_validate_json` is a pydantic model of version 2.
"""

from __future__ import annotations

from .errors import ConfigurationError, InvalidJobDataError, InvalidValueError
from .json_values import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Field = dict[str, str]
    """`{"field": path, "message": text}`."""

MOST_TOLD = 5
"""Invalid fields named in a message; `fields` has them all."""


def is_schema(declared: Any) -> bool:
    return isinstance(declared, (dict, bool))


def is_model(declared: Any) -> bool:
    return isinstance(declared, type) and hasattr(declared, "model_validate_json")


def no_schema(what: str, declared: Any) -> ConfigurationError:
    """The error of what is neither."""
    kind = type(declared).__name__
    return ConfigurationError(f"{what} is a JSON Schema (a dict) or a pydantic model (version 2), not {kind}")


def compiled(schema: Any, what: str) -> Callable[[Any], list[Field]]:
    """Make a function that gives the fields of a value that a JSON Schema refuses. Raises ConfigurationError if it is none."""
    try:
        import fastjsonschema
    except ImportError as error:
        raise ConfigurationError(f"{what} is a JSON Schema, which needs the package fastjsonschema: {error}") from None
    try:
        # No handlers for references: a schema must not make a child fetch pages.
        validate = fastjsonschema.compile(schema, handlers={"http": _no_fetch, "https": _no_fetch}, use_default=False)
    except Exception as error:  # a schema can break its compiler in many ways
        raise ConfigurationError(f"{what} is not a valid JSON Schema: {error}") from error

    def find(value: Any) -> list[Field]:
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException as error:
            return _schema_fields(error)
        return []

    return find


def _no_fetch(uri: str) -> Any:
    raise ConfigurationError(f"a schema may not refer to {uri}")


def _schema_fields(error: Any) -> list[Field]:
    """The compiled check stops at its first finding; of several missing members all are named."""
    path = path_of(error.path[1:])
    missing = []
    if error.rule == "required" and isinstance(error.value, dict):
        missing = [name for name in error.rule_definition if name not in error.value]
    if missing:
        return [{"field": f"{path}.{name}" if path else name, "message": "is required"} for name in missing]
    message = error.message
    if message.startswith(f"{error.name} "):
        message = message[len(error.name) + 1 :]
    return [{"field": path, "message": message}]


def model_fields(error: ValueError) -> list[Field]:
    """The fields that a model refused. Raises `error` where it is not the model's."""
    if not hasattr(error, "errors"):
        raise error
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"field": path_of(item["loc"]), "message": str(item["msg"])} for item in found]


def path_of(steps: Any) -> str:
    """`("items", 3, "when")` as `items[3].when`."""
    path = ""
    for step in steps:
        if isinstance(step, int) or str(step).isdigit():
            path += f"[{step}]"
        else:
            path += f".{step}" if path else str(step)
    return path


def refused(fields: list[Field], what: str = "") -> InvalidJobDataError:
    """The error of a value with such fields; `what` begins the message."""
    text = "; ".join(f"{f['field']}: {f['message']}" if f["field"] else f["message"] for f in fields[:MOST_TOLD])
    more = f" (and {len(fields) - MOST_TOLD} more)" if len(fields) > MOST_TOLD else ""
    return InvalidJobDataError(what + text + more, fields)


def told(declared: Any, mode: str) -> Any:
    """A schema or model as the JSON Schema that listings show; True where it has none that JSON can carry.

    `mode`: "validation" or "serialization", in which the schemas of a model differ.
    """
    try:
        schema = declared.model_json_schema(mode=mode) if is_model(declared) else declared
        encode(schema, "")
    except InvalidValueError:
        return True
    except Exception:  # noqa: BLE001 - pydantic has no schema for some types, and says so by errors of its own
        return True
    return schema
