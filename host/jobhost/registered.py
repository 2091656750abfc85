"""Handlers registered from code: a bundle without files, run in the host's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobhost_runtimes.bundle import BundleSpec, LimitSpec, PoolSpec
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.in_process import InProcess
from jobhost_runtimes.services import Services
from jobhost_sdk.discovery import Loaded, load_functions

from .config.bundles import Bundle

NAME = "registered"
CONCURRENCY = 64


def registered_runtime(
    functions: list[tuple[Any, dict[str, Any]]], services: Services, deadlines: Deadlines
) -> tuple[InProcess, Bundle]:
    """A runtime for `Host.register`ed functions and classes."""
    here = Path.cwd()
    spec = BundleSpec(NAME, here, "python", "none", pool=PoolSpec(concurrency=CONCURRENCY), limits=LimitSpec())

    def load() -> Loaded:
        return load_functions(functions)

    bundle = Bundle.model_validate({"path": here, "isolation": "none", "state": ["flow", "job", "handler", "global"]})
    return InProcess(spec, services, deadlines, load), bundle
