"""Reads the configuration: defaults < REDIS_* < file < JOBHOST_* < flags, every mistake reported at once.

The layers are laid over one another as plain tables and validated once as a whole, after each has been validated alone:
a mistake in the file is one even where a variable covers it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import environment, unserved
from .bundles import Bundle
from .document import Config, Document
from .find import Source, find_source, read_source
from .problems import InvalidConfigurationError, KeyPath, Problem, display_path
from .urls import absolute_url


@dataclass(slots=True, frozen=True)
class Flags:
    """What the command line says; None is not given. `bundles` are folders that replace those of the file."""

    config: Path | None = None
    queue_url: str | None = None
    http: str | None = None
    bundles: Sequence[Path] = ()


@dataclass(slots=True)
class Loaded:
    """A configuration that is right, and what must be said about it."""

    config: Config
    warnings: list[Problem] = field(default_factory=list)


def load(flags: Flags = Flags(), environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Loaded:
    """Read the configuration of the working directory. Raises InvalidConfigurationError with everything that is wrong.

    Paths of the result are absolute. Whether its bundles exist is `served_bundles`' question: a producer needs none.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    source = _source(flags, environ, cwd)
    layers = [environment.over_file(environ, cwd), _flags(flags, cwd)]
    under = environment.under_file(environ)
    document: dict[str, Any] = {}
    for layer in (under, source, *layers):
        _lay_over(document, layer)
    _fill_redis(document, environ)
    origins = under.origins | layers[0].origins | layers[1].origins
    problems = _problems(source, document, origins)
    if problems:
        raise InvalidConfigurationError(problems)
    config = _settled(Document.model_validate(document), source, flags, cwd)
    warned = [_placed(problem, source, origins) for problem in unserved.warnings(document)]
    return Loaded(config, layers[0].warnings + warned)


def _source(flags: Flags, environ: Mapping[str, str], cwd: Path) -> Source | None:
    if flags.config is not None:
        return read_source(cwd / flags.config, cwd)
    if named := environ.get("JOBHOST_CONFIG"):
        return read_source(cwd / named, cwd)
    return find_source(cwd)


def _flags(flags: Flags, cwd: Path) -> environment.Overlay:
    overlay = environment.Overlay({}, {}, [])
    for key, value in (("queue_url", flags.queue_url), ("http", flags.http)):
        if value is not None:
            overlay.values[(key,)] = absolute_url(value, cwd) if key == "queue_url" else value
            overlay.origins[(key,)] = "--" + key.replace("_", "-")
    return overlay


def _lay_over(document: dict[str, Any], layer: Source | environment.Overlay | None) -> None:
    if isinstance(layer, Source):
        _merge(document, layer.table)
    elif layer is not None:
        for path, value in layer.values.items():
            _merge(document, _nested(path, value))


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Put tables over tables, member by member; anything else replaces what was there."""
    for key, value in above.items():
        if isinstance(value, dict):
            table = below.get(key)
            below[key] = table = dict(table) if isinstance(table, dict) else {}
            _merge(table, value)
        else:
            below[key] = value


def _nested(path: KeyPath, value: object) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _fill_redis(document: dict[str, Any], environ: Mapping[str, str]) -> None:
    url = document.get("queue_url")
    if isinstance(url, str):
        document["queue_url"] = environment.filled_redis_url(url, environ)


def _problems(source: Source | None, document: dict[str, Any], origins: dict[KeyPath, str]) -> list[Problem]:
    """What is wrong in the file alone, and in the whole; the same mistake once."""
    own = [] if source is None else [_in_file(problem, source) for problem in _problems_of(source.table)]
    whole = [_placed(problem, source, origins) for problem in _problems_of(document)]
    problems = list(dict.fromkeys(own + whole))
    return sorted(problems, key=lambda problem: problem.line or 0)


def _problems_of(document: object) -> list[Problem]:
    problems: list[Problem] = []
    Document.settle(document, (), problems)
    return problems


def _in_file(problem: Problem, source: Source) -> Problem:
    return problem.at(source.shown, source.line(problem.path))


def _placed(problem: Problem, source: Source | None, origins: dict[KeyPath, str]) -> Problem:
    for path, origin in origins.items():
        if problem.path[: len(path)] == path:
            return problem.at(origin)
    return problem if source is None else _in_file(problem, source)


def _settled(document: Document, source: Source | None, flags: Flags, cwd: Path) -> Config:
    """The document with its paths made absolute, and the bundles that flags name."""
    base = cwd if source is None else source.path.parent
    values = {of.name: getattr(document, of.name) for of in fields(document)}
    values["queue_url"] = absolute_url(document.queue_url, base)
    values["bundles"] = [_absolute(bundle, base) for bundle in document.bundles]
    if flags.bundles:
        values["bundles"] = [_flagged(cwd / path, values["bundles"]) for path in flags.bundles]
    return Config(**values, source=None if source is None else source.path, base_dir=base)


def _absolute(bundle: Bundle, base: Path) -> Bundle:
    """Symlinks are kept: an interpreter of a virtual environment is one, and is known by where it lies."""
    changed: dict[str, Any] = {}
    if bundle.path is not None:
        changed["path"] = Path(os.path.normpath(base / bundle.path))
    for key in ("python", "node"):
        program = getattr(bundle, key)
        if program and "/" in program:
            changed[key] = os.path.normpath(base / program)
    for key in ("read", "write"):
        changed[key] = [os.path.normpath(base / path) for path in getattr(bundle, key)]
    return replace(bundle, **changed)


def _flagged(path: Path, configured: Sequence[Bundle]) -> Bundle:
    """The bundle of a folder. One that the file describes keeps its settings: a flag never weakens isolation."""
    path = Path(os.path.normpath(path))
    return next((bundle for bundle in configured if bundle.path == path), None) or Bundle(path=path)


def served_bundles(config: Config, cwd: Path | None = None) -> Config:
    """The configuration with `handlers/` as its bundle where it names none. Raises InvalidConfigurationError if there is
    nothing to serve, or a bundle's folder is missing."""
    cwd = Path.cwd() if cwd is None else cwd
    if not config.bundles:
        folder = config.base_dir / "handlers"
        if not folder.is_dir():
            text = (
                "there are no handlers here: `jobhost init` writes a project to start from, --bundle DIR names a folder"
            )
            raise InvalidConfigurationError([Problem((), text)])
        return replace(config, bundles=[Bundle(path=folder)])
    missing = [
        Problem(("bundles", index, "path"), f"there is no folder {display_path(bundle.path, cwd)}")
        for index, bundle in enumerate(config.bundles)
        if bundle.path is not None and not bundle.path.exists()
    ]
    if missing:
        source = read_source(config.source, cwd) if config.source else None
        raise InvalidConfigurationError([_placed(problem, source, {}) for problem in missing])
    return config
