"""`queue_url`: which schemes there are, and what their paths are relative to."""

from __future__ import annotations

import os
from pathlib import Path

_SQLITE = "sqlite:///"
SCHEMES = ("memory", "sqlite", "redis", "rediss", "postgresql")


def scheme_of(url: str) -> str:
    """The part before `://`."""
    return url.partition("://")[0]


def checked_url(value: object) -> str:
    """The URL itself if it is one of ours, else ValueError. Never quotes the URL: it may hold a password."""
    url = value if isinstance(value, str) else ""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError("is not a queue URL: write memory://, sqlite:///FILE, redis://… or postgresql://…")
    if scheme == "sqlite" and (not rest.startswith("/") or rest == "/"):
        raise ValueError("names no file: write sqlite:///FILE, with four slashes for an absolute path")
    if scheme == "memory" and rest:
        raise ValueError("memory:// takes nothing behind it: what it keeps ends with the process")
    return url


def absolute_url(url: str, base: Path) -> str:
    """A `sqlite:///` URL with its file made absolute from `base`; any other as it is."""
    if not url.startswith(_SQLITE) or url == _SQLITE:
        return url
    return _SQLITE + os.path.normpath(base / url.removeprefix(_SQLITE))


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///` URL."""
    return Path(url.removeprefix(_SQLITE))
