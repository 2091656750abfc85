"""Handlers registered from code: a bundle without files, run in the host's own process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobhost_runtimes.bundle import BundleSpec, Contents, HandlerInfo, LimitSpec, PoolSpec
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.services import Services
from jobhost_runtimes.threads import Threads

from .catalogue import Entry, entries_of
from .config.bundles import Bundle
from .config.document import Config
from .config.handlers import declared_options, schemas_of
from .errors import ConfigurationError

if TYPE_CHECKING:
    from jobhost_runtimes.in_process import InProcess
    from jobhost_sdk.discovery import LoadedHandler

NAME = "registered"
CONCURRENCY = 64
SCOPES = ("flow", "job", "handler", "global")
"""Code of the host's own process is trusted as the host is."""


@cache
def place() -> tuple[BundleSpec, Bundle]:
    """The bundle that handlers from code belong to."""
    spec = BundleSpec(NAME, Path.cwd(), "python", "none", pool=PoolSpec(concurrency=CONCURRENCY), limits=LimitSpec())
    return spec, Bundle.model_validate({"path": spec.root, "isolation": "none", "state": list(SCOPES)})


class Registered:
    """The functions and classes given to `Host.register`, before its start or while it runs."""

    def __init__(self) -> None:
        self.spec, self.bundle = place()
        self.runtime: InProcess | None = None
        self._new: dict[str, LoadedHandler] = {}

    def put(self, handler: LoadedHandler) -> None:
        """Keep a handler until the next `take`. Raises ConfigurationError if its name is taken."""
        if handler.name in self._new:
            raise ConfigurationError(
                f"there is a handler named {handler.name!r} already: {self._new[handler.name].file}"
            )
        self._new[handler.name] = handler

    def take(
        self, services: Services, deadlines: Deadlines, config: Config, threads: Threads | None = None
    ) -> Contents | None:
        """Load what was put in; None if nothing was. A handler whose schema in the file is wrong is a problem. `threads`: see Host."""
        if not self._new:
            return None
        # Imported here: a host without such handlers need not carry what runs them.
        from jobhost_runtimes.in_process import InProcess
        from jobhost_sdk.discovery import Loaded

        loaded = Loaded()
        loaded.handlers, self._new = self._new, {}
        loaded.overrule(schemas_of(config))
        if self.runtime is None:
            self.runtime = InProcess(self.spec, services, deadlines, threads=threads)
        return self.runtime.add(loaded)


def checked(fn: Any, name: str | None, settings: dict[str, Any]) -> LoadedHandler:
    """A function or class as a handler. Raises ConfigurationError at what can't be one, and at settings that are wrong."""
    from jobhost_sdk.discovery import load_function

    try:
        handler = load_function(fn, {**settings, "name": name} if name is not None else settings)
    except TypeError as error:
        raise ConfigurationError(str(error)) from error
    _, wrong = declared_options(handler.settings)
    if wrong:
        raise ConfigurationError(f"handler {handler.name!r}: " + "; ".join(wrong))
    return handler


def registered_entry(handler: LoadedHandler) -> Entry:
    """A handler from code as catalogues list it, without a host to run it."""
    info = HandlerInfo(handler.name, handler.file, handler.line, handler.kind, handler.settings)
    spec, bundle = place()
    [entry], _ = entries_of(Contents([info], []), spec, bundle, Config(), None)
    return entry
