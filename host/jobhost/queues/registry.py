"""From a queue URL to its backend. A new backend is one line in `BACKENDS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from jobhost.errors import ConfigurationError

from .seam import Backend

BACKENDS = {
    "memory": "memory.backend:MemoryBackend",
    "sqlite": "sqlite.backend:SqliteBackend",
}
"""Scheme -> module and class. Each class has a `from_url(url, base_dir)`; it is imported when its scheme is used."""

PLANNED = ("redis", "rediss", "postgresql")
"""Schemes that the documents name and this version has no backend for."""


def open_backend(url: str, base_dir: Path) -> Backend:
    """Give the backend a URL names, not opened yet; relative files are under `base_dir`.

    Raises ConfigurationError for a URL that nothing here serves.
    """
    scheme, separator, _ = url.partition("://")
    if scheme in PLANNED:
        raise ConfigurationError(f"queue_url: this version does not serve {scheme}:// yet; {_known()}")
    if not separator or scheme not in BACKENDS:
        raise ConfigurationError(f"queue_url: {url!r} is not a queue URL; {_known()}")
    module, _, name = BACKENDS[scheme].partition(":")
    backend = getattr(import_module(f".{module}", __package__), name)
    return cast("Backend", backend.from_url(url, base_dir))


def _known() -> str:
    return "use memory:// or sqlite:///FILE"
