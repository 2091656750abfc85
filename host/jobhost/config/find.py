"""Which file configures the working directory: `jobhost.toml`, or `[tool.jobhost]` of a pyproject.toml, walking up."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lines import key_lines
from .problems import InvalidConfigurationError, KeyPath, Problem, display_path

_PLACE = re.compile(r" ?\(at line (\d+), column \d+\)")


@dataclass(slots=True)
class Source:
    """A file that was read: its own table, and where each key stands."""

    path: Path
    shown: str
    table: dict[str, Any]
    text: str
    prefix: KeyPath

    def line(self, path: KeyPath) -> int | None:
        """The line of the value at `path`, or of what is nearest above it."""
        lines = key_lines(self.text)
        whole = (*self.prefix, *path)
        while whole:
            if line := lines.get(whole):
                return line
            whole = whole[:-1]
        return None


def find_source(cwd: Path) -> Source | None:
    """The nearest file at or above `cwd`; None without one. Raises InvalidConfigurationError if it can't be read."""
    for folder in (cwd, *cwd.parents):
        for name in ("jobhost.toml", "pyproject.toml"):
            path = folder / name
            if path.is_file() and (source := _read(path, cwd)) is not None:
                return source
    return None


def read_source(path: Path, cwd: Path) -> Source:
    """The file at `path`. Raises InvalidConfigurationError if it can't be read, or does not speak of us."""
    source = _read(path, cwd)
    if source is None:
        raise InvalidConfigurationError([Problem((), "has no [tool.jobhost] table", display_path(path, cwd))])
    return source


def _read(path: Path, cwd: Path) -> Source | None:
    shown = display_path(path, cwd)
    try:
        text = path.read_text("utf-8")
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid_toml(error, shown) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise InvalidConfigurationError([Problem((), f"cannot be read: {reason}", shown)]) from error
    if path.name != "pyproject.toml":
        return Source(path, shown, table, text, ())
    own = table.get("tool", {}).get("jobhost")
    return None if own is None else Source(path, shown, own, text, ("tool", "jobhost"))


def _invalid_toml(error: tomllib.TOMLDecodeError, shown: str) -> InvalidConfigurationError:
    message = str(error)
    place = _PLACE.search(message)
    text = f"is not TOML: {_PLACE.sub('', message)}"
    return InvalidConfigurationError([Problem((), text, shown, int(place[1]) if place else None)])
