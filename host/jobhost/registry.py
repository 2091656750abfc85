"""`Registry`: look at folders of handlers from code, without a host.

registry = Registry()
registry.add_folder("handlers")
await registry.discover()
registry.get("image.resize").description
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .catalogue import Catalogue, Entry, Problem, two_named
from .config.bundles import Bundle
from .config.document import Config
from .config.handlers import declared_options
from .errors import ConfigurationError, UnknownJobTypeError
from .registered import checked, registered_entry


class Registry:
    """Handlers by name, from folders and from code. `discover` asks children, so the caller's process never imports a handler."""

    def __init__(self) -> None:
        self._bundles: list[Bundle] = []
        self._catalogue = Catalogue()
        self._code: dict[str, Entry] = {}
        self._removed: set[str] = set()

    def add_folder(self, path: str | Path, **settings: Any) -> None:
        """Take in a folder of handlers. `settings`: keys of `[[bundles]]`, such as `isolation="none"`.

        Raises ConfigurationError (pydantic's ValidationError is its cause) if they are wrong.
        """
        self._bundles.append(Bundle.model_validate({"path": Path(path).resolve(), **settings}))

    def register(self, fn: Any, name: str | None = None, **settings: Any) -> Entry:
        """Add a function or `Handler` class of this process; see `Host.register`. It is not run here.

        Raises ConfigurationError if the name is taken, it can't be a handler, or a setting is wrong.
        """
        entry = registered_entry(checked(fn, name, settings))
        if entry.name in self:
            raise ConfigurationError(f"there is a handler named {entry.name!r} already: {self.get(entry.name).file}")
        self._removed.discard(entry.name)
        self._code[entry.name] = entry
        return entry

    async def discover(self) -> list[Problem]:
        """Load all folders anew; gives what is wrong with them, names used twice included. The rest is there.

        Where code registered a name that a folder has too, both are named, and the one from code is kept.
        """
        from .probe import collect

        self._catalogue = await collect(Config(bundles=self._bundles))
        return self.problems

    @property
    def problems(self) -> list[Problem]:
        twice = [
            two_named(entry, self._code[entry.name]) for entry in self._catalogue.entries if entry.name in self._code
        ]
        return [*self._catalogue.problems, *self._catalogue.conflicts, *twice]

    def validate(self, settings: dict[str, Any]) -> list[str]:
        """Say what is wrong with a handler's settings; empty if nothing is."""
        return declared_options(settings)[1]

    def get(self, name: str) -> Entry:
        """A handler by name. Raises UnknownJobTypeError, which lists the known names."""
        entry = None if name in self._removed else self._code.get(name) or self._catalogue.named(name)
        if entry is None:
            raise UnknownJobTypeError(name, self.names())
        return entry

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def has(self, name: str) -> bool:
        return name in self

    def remove(self, name: str) -> bool:
        """Leave a handler out; False if there is none."""
        if name not in self:
            return False
        self._code.pop(name, None)
        self._removed.add(name)
        return True

    def names(self) -> list[str]:
        """Names of all handlers, sorted."""
        return sorted({*(set(self._catalogue.names()) - self._removed), *self._code})
