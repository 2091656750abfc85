"""Turns a `config.json` of the older form into `jobhost.toml` (features.md B2).

That form knows `handlerDirectories`, `queueNames`, `queueConfigs`, `disabledHandlers` and `handlerOptions`, and counts in
bare milliseconds (but BullMQ's `drainDelay` in seconds). What has no counterpart is kept as a comment, never dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jobhost_sdk.durations import duration_text

from jobhost.errors import ConfigurationError

Table = dict[str, Any]
_Setter = Callable[[Any], Table]
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def converted(text: str, rebase: Callable[[str], str] = lambda path: path) -> str:
    """Give the text of a `jobhost.toml` that says what the JSON text says. `rebase` maps the paths in it.

    Raises ConfigurationError if the text is no JSON object, or a known key has a value of the wrong kind.
    """
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate is no text, and no file could hold it
    except ValueError as error:
        raise ConfigurationError(f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError("is not a JSON object")
    return "\n".join(_lines(document, rebase)) + "\n"


def _lines(document: Table, rebase: Callable[[str], str]) -> Iterator[str]:
    yield "# Converted by `jobhost init --from`. Every key is described in the documentation of jobhost.toml."
    for directory in _list(document, "handlerDirectories"):
        yield from ("", "[[bundles]]", f"path = {_toml(rebase(directory))}")
    configs = _table(document, "queueConfigs")
    for name in dict.fromkeys([*_list(document, "queueNames"), *configs]):
        yield from _section("queues", name, _table(configs, name), _QUEUE)
    options = _table(document, "handlerOptions")
    disabled = _list(document, "disabledHandlers")
    for name in dict.fromkeys([*options, *disabled]):
        yield from _section("handlers", name, _table(options, name), _HANDLER)
        if name in disabled:
            yield "enabled = false"
    unknown = {key: value for key, value in document.items() if key not in _KNOWN}
    if unknown:
        yield from ("", "# Not converted:")
        yield from (_comment(key, value) for key, value in unknown.items())


_KNOWN = ("handlerDirectories", "queueNames", "queueConfigs", "disabledHandlers", "handlerOptions")


def _section(table: str, name: str, settings: Table, setters: Mapping[str, _Setter]) -> Iterator[str]:
    """One `[queues.NAME]` or `[handlers."NAME"]`; what is unknown, or has a value that makes no sense, as comments."""
    yield from ("", f"[{table}.{_key(name)}]")
    for key, value in settings.items():
        try:
            found = setters[key](value)
        except (KeyError, TypeError, ValueError):
            yield "# not converted: " + _comment(key, value).removeprefix("# ")
            continue
        yield from (f"{new} = {_toml(member)}" for new, member in found.items())


def _comment(key: str, value: object) -> str:
    return f"# {_key(key)} = {_json(value)}"


def _ms(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ValueError(value)
    return duration_text(round(value))


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value


def _at_least_one(value: object) -> int:
    count = _count(value)
    if count == 0:
        raise ValueError(value)
    return count


def _as(key: str, convert: Callable[[Any], Any]) -> _Setter:
    return lambda value: {key: convert(value)}


def _timeout(value: object) -> str:
    return "none" if value == 0 and value is not False else _ms(value)


def _backoff(value: Any) -> Table:
    if not isinstance(value, dict):
        return {"type": "fixed", "delay": _ms(value)}
    if value.get("type") not in ("fixed", "exponential"):
        raise ValueError(value)
    return {"type": value["type"], "delay": _ms(value.get("delay", 1_000))}


def _keep(value: Any) -> Any:
    """BullMQ's removeOnComplete and removeOnFail: true removes all, false keeps all, `age` counts seconds."""
    if isinstance(value, bool):
        return 0 if value else "all"
    if not isinstance(value, dict):
        return _count(value)
    kept: Table = {"count": _count(value["count"])} if "count" in value else {"count": "all"}
    return kept | ({"age": _ms(value["age"] * 1000)} if "age" in value else {})


def _limiter(value: Any) -> Table:
    return {"max": _at_least_one(value["max"]), "every": _ms(value["duration"])}


def _paused(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return not value


_QUEUE: dict[str, _Setter] = {
    "concurrency": _as("concurrency", _at_least_one),
    "attempts": _as("attempts", _at_least_one),
    "backoff": _as("backoff", _backoff),
    "timeout": _as("timeout", _timeout),
    "lockDuration": _as("lease", _ms),
    "stalledInterval": _as("stalled_interval", _ms),
    "maxStalledCount": _as("max_stalled", _count),
    "drainDelay": _as("drain_delay", lambda seconds: _ms(seconds * 1000)),
    "removeOnComplete": _as("keep_completed", _keep),
    "removeOnFail": _as("keep_failed", _keep),
    "limiter": _as("rate_limit", _limiter),
    "autorun": _as("paused", _paused),
}
_HANDLER: dict[str, _Setter] = {
    "maxConcurrent": _as("concurrency", _at_least_one),
    "timeout": _as("timeout", _timeout),
    "attempts": _as("attempts", _at_least_one),
    "backoff": _as("backoff", _backoff),
}


def _list(document: Table, key: str) -> list[str]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(member, str) and member for member in value):
        raise ConfigurationError(f"{key}: should be a list of names")
    return value


def _table(document: Table, key: str) -> Table:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"{key}: should be an object")
    return value


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(member)}" for key, member in value.items()) + " }"
    return _json(value)


def _json(value: object) -> str:
    """JSON whose texts are TOML's too: no pairs of surrogate escapes, and DEL escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
