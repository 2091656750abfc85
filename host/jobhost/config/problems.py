"""What is wrong with a configuration: every mistake at once, each with its place, its key and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobhost.errors import ConfigurationError

KeyPath = tuple[str | int, ...]
"""Where a value is: `("bundles", 0, "pool", "children")`."""


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


def nearest(key: str, known: Sequence[str]) -> str:
    """What to add to a complaint about an unknown key: the nearest known one, or all of them where none is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"nearest known: {near[0]}" if near else f"known: {', '.join(sorted(known))}"


def display_path(path: Path, cwd: Path) -> str:
    """A path as messages show it: relative where it is below the working directory."""
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
