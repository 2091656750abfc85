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
    "postgresql": "postgres.backend:PostgresBackend",
}
"""Scheme -> module and class. Each class has a `from_url(url, base_dir, prefix)`; it is imported when its scheme is used."""

EXTRAS = {"redis": "redis", "rediss": "redis", "postgresql": "postgres"}
"""Schemes whose backend needs an extra of the package."""


def open_backend(url: str, base_dir: Path, prefix: str = "bull") -> Backend:
    """Give the backend a URL names, not opened yet; relative files are under `base_dir`. `prefix`: of keys on Redis.

    Raises ConfigurationError for a URL that nothing here serves.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in BACKENDS:
        raise ConfigurationError(f"queue_url: {url!r} is not a queue URL; {_known()}")
    module, _, name = BACKENDS[scheme].partition(":")
    try:
        backend = getattr(import_module(f".{module}", __package__), name)
    except ImportError as error:  # psycopg without its library is there and can't be imported
        if scheme not in EXTRAS:
            raise
        raise ConfigurationError(
            f"queue_url: {scheme}:// needs {error.name or 'more than is installed'}: pip install 'jobhost[{EXTRAS[scheme]}]'"
        ) from error
    return cast("Backend", backend.from_url(url, base_dir, prefix))


def _known() -> str:
    return "use memory://, sqlite:///FILE, redis://HOST, rediss://HOST or postgresql://HOST/DATABASE"
