"""`[[bundles]]`: folders of handlers, how they are isolated, and their pools of children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from . import units
from .schema import ListOf, Table, key, table

Isolation = Literal["none", "process", "restricted", "sandbox"]
Language = Literal["python", "node"]
Scope = Literal["flow", "job", "handler", "global"]
_NAMES = ListOf(units.name)
_OWN_SCOPES: tuple[Scope, ...] = ("flow", "job")


@table
class Pool(Table):
    """The children of a bundle. `children`: at most, None for the number of cores; `idle_timeout` in milliseconds."""

    children: int | None = key(units.count, default=None)
    concurrency: int = key(units.count, default=16)
    reuse: Literal["always", "never"] = key(units.one_of("always", "never"), default="always")
    max_runs: int = key(units.count, default=1_000)
    idle_timeout: int = key(units.span, default=60_000)


@table
class Limits(Table):
    """Limits of each child; None is no limit of ours. Sizes in bytes, times in milliseconds."""

    memory: int = key(units.size, default=512 * 1024 * 1024)
    cpu_time: int = key(units.span, default=60_000)
    grace: int = key(units.delay, default=5_000)
    processes: int | None = key(units.count, default=None)
    open_files: int | None = key(units.whole(16), default=None)
    disk: int | None = key(units.size, default=None)
    network: bool | None = key(units.flag, default=None)


def _variable(value: object) -> str:
    name = units.name(value)
    if "=" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a variable")
    return name


def _folder(value: object) -> Path:
    return value if isinstance(value, Path) else Path(units.name(value))


@table
class Bundle(Table):
    """A folder or package of handlers with one isolation level and one pool. `start_timeout` in milliseconds.

    After loading, `path` is absolute; `python` and `node` are absolute where they were written with a slash.
    """

    path: Path | None = key(_folder, default=None)
    package: str | None = key(units.name, default=None)
    isolation: Isolation = key(units.one_of("none", "process", "restricted", "sandbox"), default="process")
    language: Language | None = key(units.one_of("python", "node"), default=None)
    python: str | None = key(units.name, default=None)
    node: str | None = key(units.name, default=None)
    env: list[str] = key(ListOf(_variable), factory=list)
    pool: Pool = key(Pool, factory=Pool)
    limits: Limits = key(Limits, factory=Limits)
    names: list[str] | None = key(_NAMES, default=None)
    queues: list[str] | None = key(_NAMES, default=None)
    emits: list[str] | None = key(_NAMES, default=None)
    subscribes: list[str] | None = key(_NAMES, default=None)
    state: list[Scope] = key(
        ListOf(units.one_of("flow", "job", "handler", "global")), factory=lambda: list(_OWN_SCOPES)
    )
    read: list[str] = key(_NAMES, factory=list)
    write: list[str] = key(_NAMES, factory=list)
    job: str | None = key(units.name, default=None)
    setup: str | None = key(units.name, default=None)
    start_timeout: int = key(units.span, default=30_000)

    @classmethod
    def between(cls, written: Mapping[str, Any]) -> Iterator[str]:
        """A bundle is a folder or a package; only Python runs inside the host."""
        if (written.get("path") is None) == (written.get("package") is None):
            yield 'needs either path = "FOLDER" or package = "NAME"'
        if written.get("isolation") == "none" and written.get("language") == "node":
            yield 'isolation = "none" runs handlers inside the host, which only Python ones can'
