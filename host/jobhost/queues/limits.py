"""Limits that hold over all hosts, as plain data that travels into a claim; and the key by which jobs of one handler share them.

A key is what a path in a job's data or metadata leads to, as a text: a string itself, a number or truth value as JSON has it, anything
else the empty text. It is found by a scanner that builds nothing but what the path names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from .job import Json, Rate

Paths = tuple[tuple[str, ...], ...]
"""Each a place (`data` or `metadata`) and the members on the way: `("data", "customer", "id")`."""
PLACES = ("data", "metadata")
MOST_KEY = 256
"""Characters of a key; those of longer ones that are left out count for nothing."""


@dataclass(slots=True, frozen=True)
class NameLimit:
    """What holds for the jobs of one name in one queue, on all hosts together. `keyed`: its keys take turns."""

    concurrency: int | None = None
    rate: Rate | None = None
    keyed: bool = False
    key_concurrency: int | None = None
    """Of each key, as `key_rate`."""
    key_rate: Rate | None = None


FREE = NameLimit()
KEYED = NameLimit(keyed=True)


@dataclass(slots=True, frozen=True)
class Limits:
    """`concurrency`: of all jobs of the queue."""

    concurrency: int | None = None
    names: Mapping[str, NameLimit] = field(default_factory=dict)


def key_of(data: Json, metadata: Json | None, paths: Paths) -> str:
    """The key of a job. Several paths make one key together."""
    return "\x1f".join(_at(data if place == "data" else metadata, tuple(members)) for place, *members in paths)[
        :MOST_KEY
    ]


def key_in(paths: Mapping[str, Paths], name: str, data: Json, metadata: Json | None) -> str:
    """The key of a job of this name; empty where its handler has none."""
    found = paths.get(name)
    return key_of(data, metadata, found) if found else ""


def _at(text: Json | None, members: tuple[str, ...]) -> str:
    if text is None:
        return ""
    try:
        found: Any = _decoder(members).decode(text)
        for _ in members:
            found = None if found is None else found.at
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    return scalar(bytes(found)) if isinstance(found, msgspec.Raw) else ""


def scalar(raw: bytes) -> str:
    """A JSON value as a key."""
    if raw[:1] == b'"':
        loaded: str = json.loads(raw)
        return loaded
    return "" if raw[:1] in (b"{", b"[", b"", b"n") else raw.decode()


@lru_cache(maxsize=256)
def _decoder(members: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    kind: Any = msgspec.Raw
    for name in reversed(members):
        kind = msgspec.defstruct(
            "Place", [("at", kind | None if kind is not msgspec.Raw else msgspec.Raw, None)], rename={"at": name}
        )
    return msgspec.json.Decoder(kind)


def paths_of(written: str | Sequence[str]) -> Paths:
    """The paths of a setting such as `"data.customer_id"`. Raises ValueError."""
    paths = []
    for path in [written] if isinstance(written, str) else written:
        place, *members = path.split(".")
        if place not in PLACES or not members or not all(members):
            raise ValueError(f"{path!r} is no path of a key: write data.MEMBER or metadata.MEMBER")
        paths.append((place, *members))
    return tuple(paths)


def published_paths(info: Json) -> Paths:
    """The paths that a published handler's listing names; none if it has no key."""
    try:
        told = json.loads(info)
        written = told.get("key") if isinstance(told, dict) else None
        return paths_of(written) if written else ()
    except (ValueError, AttributeError):
        return ()
