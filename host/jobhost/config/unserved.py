"""What the file may say and this version does not do: the one list of it.

Nothing is accepted in silence. What would weaken a promise of safety or durability is refused; the rest is warned about,
where it is written explicitly. A feature that arrives takes its lines out of here.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from .problems import KeyPath, Problem, key_text
from .urls import scheme_of

_WARNED = (
    "http",
    "routes",
    "uid_range",
    "bundles.*.names",
    "bundles.*.queues",
    "bundles.*.emits",
    "bundles.*.subscribes",
    "bundles.*.read",
    "bundles.*.write",
    "bundles.*.setup",
    "bundles.*.limits.cpu_time",
    "bundles.*.limits.processes",
    "bundles.*.limits.open_files",
    "bundles.*.limits.disk",
    "bundles.*.limits.network",
    "defaults.drain_delay",
    "defaults.prefix",
    "defaults.max_age",
    "defaults.exclusive",
    "queues.*.drain_delay",
    "queues.*.prefix",
    "queues.*.max_age",
    "queues.*.exclusive",
    "handlers.*.flow",
    "handlers.*.requires",
    "handlers.*.key",
)
"""Paths whose feature is not there yet; a `*` is any one name or number."""

_SERVED_SCHEMES = ("memory", "sqlite", "redis", "rediss")
_SERVED_ISOLATION = ("none", "process")
_OFF: dict[KeyPath, object] = {("http",): "off"}
"""Values that ask for nothing, and so are no reason to warn."""


def refusals(document: dict[str, Any]) -> list[Problem]:
    """Mistakes in a valid document that no warning would excuse: isolation and stores that this version lacks."""
    found = []
    scheme = scheme_of(document.get("queue_url", "memory://"))
    if scheme not in _SERVED_SCHEMES:
        found.append(
            Problem(("queue_url",), f"this version cannot use {scheme}:// (it has sqlite:///, redis:// and memory://)")
        )
    for index, bundle in enumerate(document.get("bundles", ())):
        found.extend(_bundle_refusals(("bundles", index), bundle))
    return found


def _bundle_refusals(at: KeyPath, bundle: dict[str, Any]) -> Iterator[Problem]:
    isolation = bundle.get("isolation", "process")
    if isolation not in _SERVED_ISOLATION:
        text = (
            f'this version cannot enforce isolation = "{isolation}", and never runs a bundle with less than it asks for'
        )
        yield Problem((*at, "isolation"), text)


def warnings(document: dict[str, Any]) -> list[Problem]:
    """What a valid document asks for and does not get."""
    return [
        Problem(path, f"{key_text(path)} is not served by this version")
        for path, value in _paths(document)
        if any(_matches(path, pattern) for pattern in _WARNED)
        and _OFF.get(path) != value
        and not _names_queues_of_a_processor(document, path)
    ]


def _names_queues_of_a_processor(document: dict[str, Any], path: KeyPath) -> bool:
    """`queues` beside `job = "*"` says which queues one processor serves, which is done."""
    if len(path) != 3 or path[0] != "bundles" or path[2] != "queues":
        return False
    return bool(document["bundles"][path[1]].get("job") == "*")


def _paths(value: object, at: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*at, key), member
        yield from _paths(member, (*at, key))


def _matches(path: KeyPath, pattern: str) -> bool:
    parts = pattern.split(".")
    return len(parts) == len(path) and all(map(fnmatch.fnmatchcase, map(str, path), parts))
