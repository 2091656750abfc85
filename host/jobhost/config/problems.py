"""What is wrong with a configuration: every mistake at once, each with its place, its key and the nearest known key."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from jobhost.errors import ConfigurationError

KeyPath = tuple[str | int, ...]
"""Where a value is: `("bundles", 0, "pool", "children")`."""

_SHOWN = 60
"""Characters of a wrong value that a message quotes."""


@dataclass(slots=True, frozen=True)
class Problem:
    """One mistake. `origin`: the file, `$VARIABLE` or `--flag` it stands in; `line` from 1, None where there is none."""

    path: KeyPath
    text: str
    origin: str = ""
    line: int | None = None

    @property
    def key(self) -> str:
        return key_text(self.path)

    def __str__(self) -> str:
        place = f"{self.origin}:{self.line}" if self.line else self.origin
        return ": ".join(part for part in (place, self.key, self.text) if part)

    def at(self, origin: str, line: int | None = None) -> Problem:
        return replace(self, origin=origin, line=line)


class InvalidConfigurationError(ConfigurationError):
    """The configuration is wrong. `problems`: every mistake, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)


def key_text(path: KeyPath) -> str:
    """A path as the file would write it: `handlers."image.resize".timeout`, `bundles[0].path`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("_", "").replace("-", "").isalnum() and part.isascii()
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text


def problems_of(model: type[BaseModel], data: object) -> list[Problem]:
    """Every way in which `data` is not what `model` describes; empty if it is."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return [_problem(model, detail) for detail in error.errors(include_url=False)]
    return []


def _problem(model: type[BaseModel], detail: Any) -> Problem:
    path: KeyPath = tuple(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return Problem(path, f"unknown key ({nearest(str(path[-1]), _known(model, path[:-1]))})")
    if detail["type"] == "value_error":
        return Problem(path, str(detail["ctx"]["error"]))
    text = detail["msg"].removeprefix("Input ")
    value = detail["input"]
    if isinstance(value, (str, int, float)) and detail["type"] != "missing":
        shown = repr(value)
        text += f", not {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}"
    return Problem(path, text)


def nearest(key: str, known: Sequence[str]) -> str:
    """What to add to a complaint about an unknown key: the nearest known one, or all of them where none is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"nearest known: {near[0]}" if near else f"known: {', '.join(sorted(known))}"


def _known(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys of the table at `path`."""
    at: Any = model
    for part in path:
        at = at.model_fields[part].annotation if _is_model(at) else typing.get_args(at)[-1]
        at = _table(at)
    return list(at.model_fields) if _is_model(at) else []


def _table(annotation: Any) -> Any:
    """The model, list or dict inside an annotation such as `Annotated[Queue, …] | None`."""
    return next(_containers(annotation), annotation)


def _containers(annotation: Any) -> Iterator[Any]:
    if _is_model(annotation) or typing.get_origin(annotation) in (list, dict):
        yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from _containers(argument)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def display_path(path: Path, cwd: Path) -> str:
    """A path as messages show it: relative where it is below the working directory."""
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
