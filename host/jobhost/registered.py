"""Handlers registered from code: a bundle without files, run in the host's own process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobhost_runtimes.bundle import BundleSpec, Contents, LimitSpec, PoolSpec
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.services import Services

from .config.bundles import Bundle
from .config.handlers import declared_options
from .errors import ConfigurationError

if TYPE_CHECKING:
    from jobhost_runtimes.in_process import InProcess

NAME = "registered"
CONCURRENCY = 64
SCOPES = ("flow", "job", "handler", "global")
"""Code of the host's own process is trusted as the host is."""


class Registered:
    """The functions and classes given to `Host.register`, before its start or while it runs."""

    def __init__(self) -> None:
        self.spec = BundleSpec(
            NAME, Path.cwd(), "python", "none", pool=PoolSpec(concurrency=CONCURRENCY), limits=LimitSpec()
        )
        self.bundle = Bundle.model_validate({"path": self.spec.root, "isolation": "none", "state": list(SCOPES)})
        self.runtime: InProcess | None = None
        self._waiting: list[tuple[Any, dict[str, Any]]] = []
        self._names: set[str] = set()

    def put(self, fn: Any, name: str | None, settings: dict[str, Any]) -> None:
        """Keep a handler until the next `take`. Raises ConfigurationError if the name is taken or a setting is wrong."""
        _, wrong = declared_options(settings)
        key: str = name or getattr(fn, "__name__", "handler")
        if wrong:
            raise ConfigurationError(f"handler {key!r}: " + "; ".join(wrong))
        if key in self._names:
            raise ConfigurationError(f"a handler named {key!r} is registered already")
        self._names.add(key)
        self._waiting.append((fn, {"name": key, **settings}))

    def take(self, services: Services, deadlines: Deadlines) -> Contents | None:
        """Load what was put in; None if nothing was."""
        if not self._waiting:
            return None
        # Imported here: a host without such handlers need not carry what runs them.
        from jobhost_runtimes.in_process import InProcess
        from jobhost_sdk.discovery import load_functions

        waiting, self._waiting = self._waiting, []
        if self.runtime is None:
            self.runtime = InProcess(self.spec, services, deadlines)
        return self.runtime.add(load_functions(waiting))
