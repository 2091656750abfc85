"""Input validation: what a handler's `input` says of `job.data`.

After a pydantic model `job.data` is its instance, after a JSON Schema the value as it is.
"""

from __future__ import annotations

from .errors import InvalidJobDataError
from .json_values import decode
from .schemas import compiled, is_model, is_schema, model_fields, no_schema, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Check = Callable[[bytes], Any]
    """Takes the data as JSON text and gives what the handler sees as `job.data`; raises InvalidJobDataError."""


def input_check(declared: Any) -> Check:
    """Make the check of a handler's `input`; of a pair both count. Raises ConfigurationError if it is neither a schema nor a model."""
    if isinstance(declared, tuple):
        return _both(*map(input_check, declared))
    if is_schema(declared):
        return _schema_check(declared)
    if is_model(declared):
        return _model_check(declared)
    raise no_schema("input", declared)


def _both(first: Check, second: Check) -> Check:
    def check(data: bytes) -> Any:
        first(data)
        return second(data)

    return check


def _schema_check(schema: Any) -> Check:
    find = compiled(schema, "input")

    def check(data: bytes) -> Any:
        try:
            value = decode(data)
        except ValueError as error:
            raise InvalidJobDataError(f"the data of the job cannot be read: {error}") from None
        if fields := find(value):
            raise refused(fields)
        return value

    return check


def _model_check(model: Any) -> Check:
    def check(data: bytes) -> Any:
        try:
            return model.model_validate_json(data)
        except ValueError as error:
            fields = model_fields(error)
        raise refused(fields)

    return check
