"""From `[[bundles]]` to runtimes: which files, which language, which interpreter, which kind of runtime."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

from jobhost_runtimes.bundle import BundleSpec, LimitSpec, PoolSpec, bundle_files
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.errors import ChildStartError
from jobhost_runtimes.isolation import CONFINED, LEVELS
from jobhost_runtimes.runtime import Runtime
from jobhost_runtimes.services import Services
from jobhost_runtimes.threads import Threads

from .config.bundles import Bundle
from .config.document import Config
from .config.handlers import schemas_of
from .errors import ConfigurationError

PROCESSES, OPEN_FILES, DISK = 32, 256, 64 * 1024 * 1024
Trouble = Callable[[BundleSpec, ChildStartError | None], None]


def bundle_specs(config: Config) -> list[tuple[Bundle, BundleSpec]]:
    """What to run, one spec for each bundle and language in it. Raises ConfigurationError where a folder is missing."""
    return [(bundle, spec) for bundle in config.bundles for spec in _specs(bundle, config)]


def _users(given: list[int] | None) -> tuple[int, int] | None:
    return None if given is None else (given[0], given[1])


def _specs(bundle: Bundle, config: Config) -> list[BundleSpec]:
    root = _root(bundle)
    by_language = bundle_files(root)
    if bundle.language is not None:
        by_language = {bundle.language: by_language.get(bundle.language, [])}
    if bundle.isolation == "none" and "node" in by_language:
        raise ConfigurationError(f'{root}: isolation = "none" runs handlers in the host, which only Python ones can')
    name = bundle.package or root.name
    return [
        BundleSpec(
            name=name if len(by_language) == 1 else f"{name}:{language}",
            root=root,
            language=language,
            isolation=bundle.isolation,
            files=tuple(files),
            interpreter=bundle.python if language == "python" else bundle.node,
            env=tuple(bundle.env),
            pool=_pool(bundle),
            limits=_limits(bundle),
            start_timeout=bundle.start_timeout / 1000,
            read=tuple(bundle.read),
            write=tuple(bundle.write),
            uid_range=_users(config.uid_range),
            schemas=_schemas(bundle, config),
        )
        for language, files in by_language.items()
    ]


def _schemas(bundle: Bundle, config: Config) -> bytes:
    found = schemas_of(config, bundle.job == "*")
    return json.dumps(found).encode() if found else b""


def _limits(bundle: Bundle) -> LimitSpec:
    """What is not set: at the levels that hold code which means harm the least that is useful, else nothing."""
    given = bundle.limits
    confined = bundle.isolation in CONFINED
    return LimitSpec(
        memory=given.memory,
        grace=given.grace / 1000,
        processes=given.processes or PROCESSES,
        open_files=given.open_files or OPEN_FILES,
        disk=given.disk or (DISK if confined else None),
        network=given.network,
        cpu_time=given.cpu_time / 1000,
    )


def _pool(bundle: Bundle) -> PoolSpec:
    pool = bundle.pool
    return PoolSpec(
        children=pool.children or os.cpu_count() or 1,
        concurrency=pool.concurrency,
        fresh=pool.reuse == "never",
        max_runs=pool.max_runs,
        idle_timeout=pool.idle_timeout / 1000,
    )


def _root(bundle: Bundle) -> Path:
    if bundle.path is not None:
        if not bundle.path.exists():
            raise ConfigurationError(f"the bundle {bundle.path} does not exist: correct its path, or create the folder")
        return bundle.path.resolve()
    assert bundle.package is not None
    spec = importlib.util.find_spec(bundle.package)  # of a top-level name: finds, and does not import
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"the package {bundle.package} is not installed beside jobhost: pip install it")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def make_runtime(
    spec: BundleSpec,
    services: Services,
    deadlines: Deadlines,
    on_trouble: Trouble | None,
    threads: Threads | None = None,
) -> Runtime:
    """The runtime of a bundle's isolation level. There is no other way to it, so none can be weaker than asked. `threads`: see Host."""
    if spec.isolation == "none":
        from jobhost_runtimes.in_process import InProcess

        return InProcess(spec, services, deadlines, threads=threads)
    if spec.isolation in LEVELS:
        from jobhost_runtimes.pool import Pool

        return Pool(spec, services, deadlines, on_trouble)
    raise ConfigurationError(f"isolation {spec.isolation!r} is none that this version has")
