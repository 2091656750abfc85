"""Versions of handlers: a job named `image.resize@2` asks for one; `image.resize` is for the newest.

The version is part of the job's name, so that any producer can ask for one, on any store, and hosts with different versions of a handler
share a queue: each takes what it has. A version is given as far as it matters: `@2`, `@2.1`, `@2.1.0`.
"""

from __future__ import annotations

MARK = "@"


def split(name: str) -> tuple[str, str | None]:
    """A job's name as the handler's and the version it asks for, if it does."""
    handler, mark, version = name.rpartition(MARK)
    return (handler, version) if mark and handler and version else (name, None)


def asked(name: str, version: str) -> list[str]:
    """The names that jobs may have who ask for this version of a handler, the most exact first."""
    parts = version.split(".")
    return [f"{name}{MARK}{'.'.join(parts[:count])}" for count in range(len(parts), 0, -1)]


def order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as people do: numbers as numbers, and before words."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in version.split("."))
