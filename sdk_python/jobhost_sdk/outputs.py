"""Output validation: what a handler's `result`, and the schemas of its emits, say of what it gives away.

An instance of a pydantic model becomes the JSON that the model makes of it; any other value is checked and stays as it is.
"""

from __future__ import annotations

from .json_values import decode, encode
from .schemas import compiled, is_model, is_schema, model_fields, no_schema, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Encode = Callable[[Any], bytes]
    """Takes a value and gives it as JSON text; raises InvalidValueError and InvalidJobDataError."""


def output_check(declared: Any, setting: str, what: str, root: str) -> Encode:
    """Make the check of what goes out. `setting`: where it was declared; `what` and `root` name the value: "the result", "result".

    Raises ConfigurationError if `declared` is neither a schema nor a model, nor a pair of both.
    """
    if isinstance(declared, tuple):
        schema, model = (output_check(each, setting, what, root) for each in declared)
        return lambda value: schema(decode(model(value)))
    if is_schema(declared):
        return _schema_check(declared, setting, what, root)
    if is_model(declared):
        return _model_check(declared, what, root)
    raise no_schema(setting, declared)


def _schema_check(schema: Any, setting: str, what: str, root: str) -> Encode:
    find = compiled(schema, setting)

    def check(value: Any) -> bytes:
        text = encode(value, root)
        if fields := find(value):
            raise _refused(fields, what, root)
        return text

    return check


def _model_check(model: Any, what: str, root: str) -> Encode:
    def check(value: Any) -> bytes:
        if isinstance(value, model):
            # By alias, as models are read: what is written here can be read by the same model.
            return encode(value.model_dump(mode="json", by_alias=True), root)
        text = encode(value, root)
        try:
            model.model_validate_json(text)
        except ValueError as error:
            fields = model_fields(error)
        else:
            return text
        raise _refused(fields, what, root)

    return check


def _refused(fields: list[dict[str, str]], what: str, root: str) -> Exception:
    """The error, with fields that begin with `root`: `result.items[3].price`."""
    placed = [{"field": _below(root, item["field"]), "message": item["message"]} for item in fields]
    return refused(placed, f"{what} was refused: ")


def _below(root: str, path: str) -> str:
    return root + path if path.startswith("[") or not path else f"{root}.{path}"
