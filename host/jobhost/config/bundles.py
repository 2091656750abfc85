"""`[[bundles]]`: folders of handlers, how they are isolated, and their pools of children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from .units import Count, Delay, Section, Size, Span, Text

Isolation = Literal["none", "process", "restricted", "sandbox"]
Language = Literal["python", "node"]
Scope = Literal["flow", "job", "handler", "global"]
_OWN_SCOPES: tuple[Scope, ...] = ("flow", "job")


class Pool(Section):
    """The children of a bundle. `children`: at most, None for the number of cores; `idle_timeout` in milliseconds."""

    children: Count | None = None
    concurrency: Count = 16
    reuse: Literal["always", "never"] = "always"
    max_runs: Count = 1_000
    idle_timeout: Span = 60_000


class Limits(Section):
    """Limits of each child; None is no limit of ours. Sizes in bytes, times in milliseconds."""

    memory: Size = 512 * 1024 * 1024
    cpu_time: Span | None = None
    grace: Delay = 5_000
    processes: Count | None = None
    open_files: Annotated[int, Field(ge=16)] | None = None
    disk: Size | None = None
    network: bool | None = None


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a variable")
    return name


class Bundle(Section):
    """A folder or package of handlers with one isolation level and one pool. `start_timeout` in milliseconds.

    After loading, `path` is absolute; `python` and `node` are absolute where they were written with a slash.
    """

    path: Annotated[Path, Field(strict=False)] | None = None
    package: Text | None = None
    isolation: Isolation = "process"
    language: Language | None = None
    python: Text | None = None
    node: Text | None = None
    env: list[Annotated[str, AfterValidator(_variable)]] = Field(default_factory=list)
    pool: Pool = Pool()
    limits: Limits = Limits()
    names: list[Text] | None = None
    queues: list[Text] | None = None
    emits: list[Text] | None = None
    subscribes: list[Text] | None = None
    state: list[Scope] = Field(default_factory=lambda: list(_OWN_SCOPES))
    read: list[Text] = Field(default_factory=list)
    write: list[Text] = Field(default_factory=list)
    job: Text | None = None
    setup: Text | None = None
    start_timeout: Span = 30_000

    @model_validator(mode="after")
    def _sound(self) -> Bundle:
        for text in bundle_problems(self.model_dump(include={"path", "package", "isolation", "language"})):
            raise ValueError(text)
        return self


def bundle_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between the keys of one bundle as it is written. Asked apart, since pydantic looks at the whole of a table
    only where every single key is right."""
    if (table.get("path") is None) == (table.get("package") is None):
        yield 'needs either path = "FOLDER" or package = "NAME"'
    if table.get("isolation") == "none" and table.get("language") == "node":
        yield 'isolation = "none" runs handlers inside the host, which only Python ones can'
