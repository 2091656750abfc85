"""A bundle: a folder of handlers with one dependency environment, one isolation level and one set of children."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUFFIXES = {
    ".py": "python",
    ".js": "node",
    ".mjs": "node",
    ".cjs": "node",
    ".ts": "node",
    ".mts": "node",
    ".cts": "node",
}
_ENVIRONMENTS = {"node_modules", "venv", "env", "virtualenv", "__pycache__"}


@dataclass(slots=True, frozen=True)
class PoolSpec:
    """How many children, and how long each serves. Durations in seconds."""

    children: int = field(default_factory=lambda: os.cpu_count() or 1)
    concurrency: int = 16
    fresh: bool = False
    """A new child for every run."""
    max_runs: int = 1000
    idle_timeout: float = 60.0


@dataclass(slots=True, frozen=True)
class LimitSpec:
    """Limits of one child. `memory` and `disk` in bytes, `grace` in seconds; None: no limit, or that of the level."""

    memory: int | None = 512 * 1024 * 1024
    grace: float = 5.0
    processes: int | None = None
    open_files: int | None = None
    disk: int | None = None
    network: bool | None = None
    cpu_time: float | None = None
    """Seconds of processor time of one run, which has to be alone in its child to be charged."""


@dataclass(slots=True, frozen=True)
class BundleSpec:
    """All a runtime needs to know of a bundle. `files` are relative to `root`. `interpreter` is absolute, or a name on PATH."""

    name: str
    root: Path
    language: str
    isolation: str = "process"
    files: tuple[str, ...] = ()
    interpreter: str | None = None
    env: tuple[str, ...] = ()
    """Names of host variables that the child may see."""
    pool: PoolSpec = field(default_factory=PoolSpec)
    limits: LimitSpec = field(default_factory=LimitSpec)
    start_timeout: float = 30.0
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    """Paths beside the bundle that a confined child may read, or also write; absolute."""
    uid_range: tuple[int, int] | None = None
    """First and last user number for children, where the host is root."""
    schemas: bytes = b""
    """What the host's file says of the values of handlers, as the option `schemas` of PROTOCOL.md's `initialize`; empty: nothing."""


@dataclass(slots=True)
class HandlerInfo:
    """A handler as its bundle declares it. `settings` are raw: the host validates them."""

    name: str
    file: str
    line: int | None
    kind: str
    settings: dict[str, Any]


@dataclass(slots=True)
class FileProblem:
    """A file that could not be loaded; `error` is one line."""

    file: str
    line: int | None
    error: str


@dataclass(slots=True)
class Contents:
    """What a bundle holds, as its runtime learned it."""

    handlers: list[HandlerInfo]
    problems: list[FileProblem]
    sdk: str = ""
    language: str = ""


def bundle_files(root: Path) -> dict[str, list[str]]:
    """List the handler files below `root` by language, relative and sorted. Only names are looked at, nothing is opened.

    `root` may be one file. Skipped: names that start with `_` or `.`, `node_modules`, virtual environments, `test_*` and
    `*.test.*`, and TypeScript's `.d.ts`.
    """
    found: dict[str, list[str]] = {}
    if root.is_file():
        language = SUFFIXES.get(root.suffix)
        return {language: [root.name]} if language else {}
    for path in sorted(_walk(root)):
        found.setdefault(SUFFIXES[path.suffix], []).append(path.relative_to(root).as_posix())
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.name.startswith((".", "_")):
            continue
        path = Path(entry.path)
        if entry.is_dir():
            # A cycle of symbolic links would never end, so folders that are links are not followed.
            if not entry.is_symlink() and not _is_environment(path):
                yield from _walk(path)
        elif path.suffix in SUFFIXES and not _is_test(entry.name):
            yield path


def _is_environment(folder: Path) -> bool:
    return folder.name in _ENVIRONMENTS or (folder / "pyvenv.cfg").is_file()


def _is_test(name: str) -> bool:
    return name.startswith("test_") or ".test." in name or name.endswith((".d.ts", ".d.mts", ".d.cts"))
