"""What the loaded bundles can do: every handler with its settings, and every problem with its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from jobhost_runtimes.bundle import BundleSpec, Contents, HandlerInfo
from jobhost_runtimes.runtime import Runtime

from .config.bundles import Bundle
from .config.document import Config
from .config.handlers import HandlerOptions, declared_options, handler_options
from .config.problems import nearest
from .grants import capped, refused
from .limits import unkept
from .versions import asked
from .versions import order as versions_order


@dataclass(slots=True)
class Entry:
    """A handler a host can run. `settings` are settled: configuration over code. `code` is what the code alone declares."""

    name: str
    queue: str
    bundle: str
    file: str
    line: int | None
    language: str
    isolation: str
    kind: str
    settings: HandlerOptions
    code: HandlerOptions
    runtime: Runtime | None = None
    handler: str = ""
    """Its name inside the bundle; differs from `name` where the bundle says `job = "*"`."""
    names: tuple[str, ...] = ()
    """The names of jobs that it serves: its own, and those that ask for its version. Settled by the catalogue."""

    @property
    def description(self) -> str:
        return self.settings.description or ""

    @property
    def version(self) -> str:
        return self.settings.version or "1.0.0"

    @property
    def author(self) -> str:
        return self.settings.author or "Unknown"

    @property
    def breaker(self) -> str | None:
        """The name of its breaker."""
        option = self.settings.breaker
        return option if option is None or isinstance(option, str) else self.name

    def listing(self) -> dict[str, Any]:
        """The handler as `handlers --json` and the published catalogue show it."""
        return {
            "name": self.name,
            "queue": self.queue,
            "description": self.description,
            "version": self.version,
            "author": self.author,
            "bundle": self.bundle,
            "file": self.file,
            "line": self.line,
            "language": self.language,
            "isolation": self.isolation,
            "breaker": self.breaker,
            "key": self.settings.key,
            "kind": self.kind,
            "flow": self.settings.flow.listing() if self.settings.flow else None,
            "timeout_ms": self.settings.timeout,
            "concurrency": self.settings.concurrency,
            "attempts": self.settings.attempts,
            "requires": self.settings.requires or [],
        }

    def schemas(self) -> dict[str, Any]:
        """The schemas of its values, as `handlers --json` shows them: null where nothing is declared, true where there is no JSON
        Schema of what is. They are not published: they may be large, and whoever enqueues would read all of them."""
        flow = self.settings.flow
        return {
            "input": self.settings.input,
            "result": self.settings.result,
            "emits": {}
            if flow is None
            else {trigger: each for trigger, each in flow.emits.items() if each is not None},
        }


@dataclass(slots=True, frozen=True)
class Problem:
    """Something wrong with a handler file; the rest of its bundle is served."""

    file: str
    line: int | None
    error: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.error}" if self.line else f"{self.file}: {self.error}"


@dataclass(slots=True)
class Catalogue:
    """Handlers by name; a wildcard (`*`) serves what no name does, in its own queue."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    """Two handlers of one name: neither wins silently, so neither is served."""
    _by_name: dict[str, Entry] = field(default_factory=dict)
    _by_version: dict[str, Entry] = field(default_factory=dict)
    _wildcards: dict[str, Entry] = field(default_factory=dict)

    def add(self, entries: Iterable[Entry]) -> list[Entry]:
        """Take in handlers; gives those that are served now."""
        added = []
        for entry in entries:
            other = self._like(entry)
            if other is not None:
                self.conflicts.append(two_named(entry, other))
                continue
            self.entries.append(entry)
            added.append(entry)
            if entry.name == "*":
                self._wildcards[entry.queue] = entry
            else:
                self._name(entry.name)
        return added

    def _like(self, entry: Entry) -> Entry | None:
        """What serves the same jobs already."""
        if entry.name == "*":
            return self._wildcards.get(entry.queue)
        same = (one for one in self.entries if one.name == entry.name and one.version == entry.version)
        return next(same, None)

    def _name(self, name: str) -> None:
        """Settle which version of a handler serves which names: the newest that they may mean."""
        versions = sorted(
            (one for one in self.entries if one.name == name), key=lambda one: versions_order(one.version)
        )
        served: dict[str, Entry] = {}
        for entry in versions:
            served.update(dict.fromkeys((name, *asked(name, entry.version)), entry))
        for entry in versions:
            entry.names = tuple(one for one, of in served.items() if of is entry)
        self._by_name[name] = versions[-1]
        self._by_version.update({one: of for one, of in served.items() if one != name})

    def find(self, name: str, queue: str) -> Entry | None:
        """The handler for a job of this name in this queue."""
        return self._by_name.get(name) or self._by_version.get(name) or self._wildcards.get(queue)

    def versions(self, name: str) -> list[str]:
        """The versions of a handler that are here, the newest last."""
        return sorted((one.version for one in self.entries if one.name == name), key=versions_order)

    def named(self, name: str) -> Entry | None:
        return self._by_name.get(name)

    def wildcard(self, queue: str) -> Entry | None:
        return self._wildcards.get(queue)

    def names(self) -> list[str]:
        return sorted(self._by_name)

    @property
    def queues(self) -> set[str]:
        return {entry.queue for entry in self.entries}


def two_named(entry: Entry, other: Entry) -> Problem:
    """Two handlers of one name, which is an error that names both files."""
    text = f"two handlers are named {entry.name!r}: {other.file} and {entry.file}; rename or disable one, or give them different versions"
    return Problem(entry.file, entry.line, text)


def entries_of(
    contents: Contents, spec: BundleSpec, bundle: Bundle, config: Config, runtime: Runtime | None
) -> tuple[list[Entry], list[Problem]]:
    """Settle what a bundle declares: validated settings over which the configuration is put, disabled handlers left out."""
    entries: list[Entry] = []
    problems = [Problem(_path(spec, item.file), item.line, item.error) for item in contents.problems]
    for info in contents.handlers:
        code, wrong = declared_options(info.settings)
        wrong += refused(info, code, spec, bundle)
        code = capped(code, spec, config)
        file = _path(spec, info.file)
        problems += [Problem(file, info.line, f"handler {info.name!r}: {text}") for text in wrong]
        if not wrong:
            entry = _entry(info, file, code, spec, bundle, config, runtime)
            if entry is not None and (wanting := _missing_breaker(entry, config) or unkept(entry, config)) is not None:
                problems.append(Problem(file, info.line, f"handler {info.name!r}: {wanting}"))
            elif entry is not None and entry.name == "*" and bundle.job == "*" and bundle.queues:
                # A processor says nothing of its queue: the bundle does, and may name several.
                entries += [replace(entry, queue=queue) for queue in bundle.queues]
            elif entry is not None:
                entries.append(entry)
    return entries, problems


def _entry(
    info: HandlerInfo,
    file: str,
    code: HandlerOptions,
    spec: BundleSpec,
    bundle: Bundle,
    config: Config,
    runtime: Runtime | None,
) -> Entry | None:
    name = "*" if bundle.job == "*" else info.name
    settings = handler_options(info.name if info.name in config.handlers else name, code, config)
    if settings.enabled is False:
        return None
    queue = settings.queue or "default"
    return Entry(
        name,
        queue,
        spec.name,
        file,
        info.line,
        spec.language,
        spec.isolation,
        info.kind,
        settings,
        code,
        runtime,
        info.name,
    )


def _missing_breaker(entry: Entry, config: Config) -> str | None:
    option = entry.settings.breaker
    if not isinstance(option, str) or option in config.breakers:
        return None
    return f"breaker: there is no [breakers.{option}]; {nearest(option, list(config.breakers))}"


def _path(spec: BundleSpec, file: str) -> str:
    root = spec.root if spec.root.is_dir() else spec.root.parent
    return str(root / file)


def __getattr__(name: str) -> Any:
    # `collect` and `run_once` start children; a listing of what was collected must not pay for their imports.
    if name in ("collect", "run_once"):
        from . import probe

        return getattr(probe, name)
    raise AttributeError(name)
