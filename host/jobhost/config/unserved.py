"""What the file may say and this version does not do: the one list of it.

Nothing is accepted in silence: each is warned about where it is written explicitly. A feature that arrives takes its lines out of here.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from .problems import KeyPath, Problem, key_text

_WARNED = (
    "http",
    "bundles.*.setup",
    "defaults.drain_delay",
    "defaults.prefix",
    "queues.*.drain_delay",
    "queues.*.prefix",
)
"""Paths whose feature is not there yet; a `*` is any one name or number."""

_OFF: dict[KeyPath, object] = {("http",): "off"}
"""Values that ask for nothing, and so are no reason to warn."""


def warnings(document: dict[str, Any]) -> list[Problem]:
    """What a valid document asks for and does not get."""
    return [
        Problem(path, f"{key_text(path)} is not served by this version")
        for path, value in _paths(document)
        if any(_matches(path, pattern) for pattern in _WARNED) and _OFF.get(path) != value
    ]


def _paths(value: object, at: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*at, key), member
        yield from _paths(member, (*at, key))


def _matches(path: KeyPath, pattern: str) -> bool:
    parts = pattern.split(".")
    return len(parts) == len(path) and all(map(fnmatch.fnmatchcase, map(str, path), parts))
