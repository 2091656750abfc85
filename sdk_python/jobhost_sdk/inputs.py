"""Input validation: what a handler's `input` says of `job.data`.

A dict is a JSON Schema, compiled by `fastjsonschema` (the host lends it where the bundle's environment has none). A
class with `model_validate_json` is a pydantic model; `job.data` is then its instance.
"""

from __future__ import annotations

from .errors import ConfigurationError, InvalidJobDataError
from .json_values import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Check = Callable[[bytes], Any]
    """Takes the data as JSON text and gives what the handler sees as `job.data`; raises InvalidJobDataError."""


def input_check(declared: Any) -> Check:
    """Make the check of a handler's `input`. Raises ConfigurationError if it is neither a schema nor a model."""
    if isinstance(declared, dict):
        return _schema_check(declared)
    if isinstance(declared, type) and hasattr(declared, "model_validate_json"):
        return _model_check(declared)
    raise ConfigurationError(
        f"input is a JSON Schema (a dict) or a pydantic model (version 2), not {type(declared).__name__}"
    )


def _schema_check(schema: dict[str, Any]) -> Check:
    try:
        import fastjsonschema
    except ImportError as error:
        raise ConfigurationError(f"input is a JSON Schema, which needs the package fastjsonschema: {error}") from None
    try:
        # No handlers for references: a schema must not make a child fetch pages.
        validate = fastjsonschema.compile(schema, handlers={"http": _no_fetch, "https": _no_fetch}, use_default=False)
    except Exception as error:  # a schema can break its compiler in many ways
        raise ConfigurationError(f"input is not a valid JSON Schema: {error}") from error

    def check(data: bytes) -> Any:
        value = _read(data)
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException as error:
            raise _invalid(_schema_fields(error)) from None
        return value

    return check


def _no_fetch(uri: str) -> Any:
    raise ConfigurationError(f"a schema may not refer to {uri}")


def _schema_fields(error: Any) -> list[dict[str, str]]:
    """The compiled check stops at its first finding; of several missing members all are named."""
    path = _path(error.path[1:])
    missing = []
    if error.rule == "required" and isinstance(error.value, dict):
        missing = [name for name in error.rule_definition if name not in error.value]
    if missing:
        return [{"field": f"{path}.{name}" if path else name, "message": "is required"} for name in missing]
    message = error.message
    if message.startswith(f"{error.name} "):
        message = message[len(error.name) + 1 :]
    return [{"field": path, "message": message}]


def _model_check(model: Any) -> Check:
    def check(data: bytes) -> Any:
        try:
            return model.model_validate_json(data)
        except ValueError as error:
            if not hasattr(error, "errors"):
                raise
            found = error.errors(include_url=False, include_context=False, include_input=False)
        raise _invalid([{"field": _path(item["loc"]), "message": str(item["msg"])} for item in found])

    return check


def _read(data: bytes) -> Any:
    try:
        return decode(data)
    except ValueError as error:
        raise InvalidJobDataError(f"the data of the job cannot be read: {error}") from None


def _path(steps: Any) -> str:
    """`("items", 3, "when")` as `items[3].when`."""
    path = ""
    for step in steps:
        if isinstance(step, int) or str(step).isdigit():
            path += f"[{step}]"
        else:
            path += f".{step}" if path else str(step)
    return path


def _invalid(fields: list[dict[str, str]]) -> InvalidJobDataError:
    text = "; ".join(f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in fields[:5])
    more = f" (and {len(fields) - 5} more)" if len(fields) > 5 else ""
    return InvalidJobDataError(text + more, fields)
