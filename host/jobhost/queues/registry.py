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
    "redis": "redis.backend:RedisBackend",
    "rediss": "redis.backend:RedisBackend",
}
"""Scheme -> module and class. Each class has a `from_url(url, base_dir, prefix)`; it is imported when its scheme is used."""

PLANNED = ("postgresql",)
"""Schemes that the documents name and this version has no backend for."""

EXTRAS = {"redis": "redis", "rediss": "redis"}
"""Schemes whose backend needs an extra of the package."""


def open_backend(url: str, base_dir: Path, prefix: str = "bull") -> Backend:
    """Give the backend a URL names, not opened yet; relative files are under `base_dir`. `prefix`: of keys on Redis.

    Raises ConfigurationError for a URL that nothing here serves.
    """
    scheme, separator, _ = url.partition("://")
    if scheme in PLANNED:
        raise ConfigurationError(f"queue_url: this version does not serve {scheme}:// yet; {_known()}")
    if not separator or scheme not in BACKENDS:
        raise ConfigurationError(f"queue_url: {url!r} is not a queue URL; {_known()}")
    module, _, name = BACKENDS[scheme].partition(":")
    try:
        backend = getattr(import_module(f".{module}", __package__), name)
    except ModuleNotFoundError as error:
        if scheme not in EXTRAS:
            raise
        raise ConfigurationError(
            f"queue_url: {scheme}:// needs {error.name}: pip install 'jobhost[{EXTRAS[scheme]}]'"
        ) from error
    return cast("Backend", backend.from_url(url, base_dir, prefix))


def _known() -> str:
    return "use memory://, sqlite:///FILE, redis://HOST or rediss://HOST"
