"""`[[alerts]]`: who is told when something needs people."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from . import units
from .schema import ListOf, Table, key, table

Kind = Literal["dead_letter", "failed", "flow_failed", "breaker_open"]
KINDS: tuple[Kind, ...] = ("dead_letter", "failed", "flow_failed", "breaker_open")
USUAL: tuple[Kind, ...] = ("dead_letter", "flow_failed", "breaker_open")
WAYS = ("webhook", "command", "handler")


def _url(value: object) -> str:
    url = urlsplit(units.name(value))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{units.shown(value)} is no address of a receiver: write https://HOST/PATH")
    return units.name(value)


def _command(value: object) -> list[str]:
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value) and value[0]:
        return value
    raise ValueError(f'should be a list of a program and its words, such as ["./notify.sh"], not {units.shown(value)}')


@table
class Alert(Table):
    """One receiver, told in one way: `webhook`, `command` or `handler`. `every` and `timeout` in milliseconds."""

    on: list[Kind] = key(ListOf(units.one_of(*KINDS)), factory=lambda: list(USUAL))
    queues: list[str] = key(ListOf(units.name), factory=lambda: ["*"])
    handlers: list[str] = key(ListOf(units.name), factory=lambda: ["*"])
    """Patterns of what it is about."""
    webhook: str | None = key(_url, default=None)
    secret_env: str | None = key(units.name, default=None)
    """The variable that holds the secret with which the webhook is signed."""
    command: list[str] | None = key(_command, default=None)
    handler: str | None = key(units.name, default=None)
    every: int = key(units.delay, default=10_000)
    """At most one alert in so long of one kind about one handler of one queue; it says how many others there were."""
    timeout: int = key(units.span, default=10_000)

    @classmethod
    def between(cls, written: Mapping[str, Any]) -> Iterator[str]:
        """Exactly one way, and a secret only where something is signed."""
        ways = [way for way in WAYS if written.get(way) is not None]
        if len(ways) != 1:
            yield f"needs exactly one of {', '.join(WAYS)}"
        if written.get("secret_env") is not None and written.get("webhook") is None:
            yield "secret_env signs a webhook, and there is none"

    def wants(self, kind: Kind, queue: str | None, handler: str | None) -> bool:
        """Whether it is to be told. What is of no queue or no handler matches any pattern."""
        return (
            kind in self.on
            and (queue is None or any(fnmatch.fnmatchcase(queue, pattern) for pattern in self.queues))
            and (handler is None or any(fnmatch.fnmatchcase(handler, pattern) for pattern in self.handlers))
        )

    @property
    def id(self) -> str:
        """Its name in the store: the same in every host that is configured alike; says nothing of what it is made of."""
        told = json.dumps([self.webhook, self.secret_env, self.command, self.handler])
        return hashlib.sha256(told.encode()).hexdigest()[:12]
