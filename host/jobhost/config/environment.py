"""What the environment says of the configuration: `JOBHOST_*` over the file, `WORKER_CONCURRENCY` and `REDIS_*` under it.

`JOBHOST_<KEY>` is a key of the file's top level or of `[defaults]`: `JOBHOST_QUEUE_URL`, `JOBHOST_CONCURRENCY`. Container
platforms inject names such as REDIS_HOST for services nobody asked for: they fill gaps of a redis:// URL, no more.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from .document import Document
from .problems import KeyPath, Problem, nearest
from .queues import QUEUE_KEYS
from .urls import absolute_url

_OTHERS = frozenset({"JOBHOST_CONFIG", "JOBHOST_DEBUG", "JOBHOST_LOG_FORMAT", "JOBHOST_LOG_LEVEL", "JOBHOST_RPC_FD"})
"""Variables of ours that are no keys. Those that start with `JOBHOST_TOKEN` aren't either."""

_TABLES = frozenset({"bundles", "queues", "handlers", "defaults", "routes"})
_TEXTS = frozenset({"queue_url", "prefix", "http", "dead_letter", "shutdown_timeout"})
"""Keys whose value is text, even where it looks like a number."""

_TOP = tuple(field.name for field in fields(Document))
_VARIABLES: dict[str, KeyPath] = {f"JOBHOST_{key.upper()}": ("defaults", key) for key in QUEUE_KEYS} | {
    f"JOBHOST_{key.upper()}": (key,) for key in _TOP if key not in _TABLES
}


@dataclass(slots=True)
class Overlay:
    """Values to lay over or under the file: each with its path and where it comes from."""

    values: dict[KeyPath, Any]
    origins: dict[KeyPath, str]
    warnings: list[Problem]


def over_file(environ: Mapping[str, str], cwd: Path) -> Overlay:
    """`JOBHOST_*`, which win over the file. Empty ones count as unset; unknown ones are warned about."""
    overlay = Overlay({}, {}, [])
    for name, text in sorted(environ.items()):
        if not name.startswith("JOBHOST_") or name in _OTHERS or name.startswith("JOBHOST_TOKEN"):
            continue
        path = _VARIABLES.get(name)
        if path is None:
            text = f"unknown variable ({nearest(name, list(_VARIABLES))})"
            overlay.warnings.append(Problem((), text, f"${name}"))
        elif text:
            overlay.values[path] = _value(path[-1], text, cwd)
            overlay.origins[path] = f"${name}"
    return overlay


def under_file(environ: Mapping[str, str]) -> Overlay:
    """`WORKER_CONCURRENCY`, which the file's own `[defaults] concurrency` wins over."""
    path: KeyPath = ("defaults", "concurrency")
    text = environ.get("WORKER_CONCURRENCY")
    if not text:
        return Overlay({}, {}, [])
    return Overlay({path: _literal(text)}, {path: "$WORKER_CONCURRENCY"}, [])


def _value(key: str | int, text: str, cwd: Path) -> object:
    if key == "queue_url":
        return absolute_url(text, cwd)
    return text if key in _TEXTS and not _is_number(key, text) else _literal(text)


def _is_number(key: str | int, text: str) -> bool:
    """A bare number for a duration must reach the complaint about its missing unit as the number it is."""
    return key == "shutdown_timeout" and isinstance(_literal(text), (int, float))


def _literal(text: str) -> object:
    """A TOML value (`3`, `true`, `{ count = 5 }`), or else the text itself (`30s`, `all`)."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if len(document) == 1 else text


def filled_redis_url(url: str, environ: Mapping[str, str]) -> str:
    """Fill what a redis:// or rediss:// URL leaves open from REDIS_URL, then from REDIS_HOST and its kin.

    Any other URL comes back as it is. A part that the URL has is never replaced.
    """
    if not url.startswith(("redis://", "rediss://")):
        return url
    own, given = urlsplit(url), urlsplit(environ.get("REDIS_URL", ""))
    login, where = own.netloc.rpartition("@")[::2]
    if not where:
        where = given.netloc.rpartition("@")[2] or _host_and_port(environ)
    if not login:
        login = given.netloc.rpartition("@")[0] or _login(environ)
    database = own.path.strip("/") or given.path.strip("/") or environ.get("REDIS_DB", "")
    tls = (
        own.scheme == "rediss"
        or given.scheme == "rediss"
        or environ.get("REDIS_TLS", "").lower() in ("1", "true", "yes")
    )
    place = f"{login}@{where}" if login else where
    path, query = f"/{database}" if database else "", f"?{own.query}" if own.query else ""
    return f"redis{'s' if tls else ''}://{place}{path}{query}"


def _host_and_port(environ: Mapping[str, str]) -> str:
    host, port = environ.get("REDIS_HOST", ""), environ.get("REDIS_PORT", "")
    if not host and not port:
        return ""
    return f"{host or 'localhost'}:{port}" if port else host


def _login(environ: Mapping[str, str]) -> str:
    user, password = environ.get("REDIS_USERNAME", ""), environ.get("REDIS_PASSWORD", "")
    return f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")
