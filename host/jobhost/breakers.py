"""Breakers from outside: `client.breakers`. What hosts keep of them, listed, and opened or closed by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from jobhost_sdk.durations import Duration, milliseconds

from jobhost.listings import Listing, handler_listing, iso
from jobhost.queues.job import Json
from jobhost.queues.seam import Backend
from jobhost.queues.state_ops import StateOp

SCOPE = "jobhost:breakers"
"""The scope of state that hosts keep breakers in; a scope of no handler."""
OPEN, HALF_OPEN = "open", "half_open"


def state_text(status: str, until: int, reopens: int, reason: str, host: str) -> Json:
    """The stored state of a breaker that is not closed. `until`: Unix ms."""
    told = {"status": status, "until": until, "reopens": reopens, "reason": reason, "host": host}
    return json.dumps(told).encode()


def read_state(stored: Json | None) -> dict[str, Any]:
    """What a stored state says; nothing, as of a closed breaker, where somebody has written something else there."""
    try:
        told = json.loads(stored or b"{}")
    except ValueError:
        return {}
    known = isinstance(told, dict) and told.get("status") in (OPEN, HALF_OPEN) and isinstance(told.get("until"), int)
    return told if known else {}


class BreakerClient:
    """Breakers of one store."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def list(self) -> list[Listing]:
        """All that published handlers have, and all that are not closed, by name."""
        handlers: dict[str, list[str]] = {}
        for published in await self._backend.published():
            told = handler_listing(published)
            if isinstance(name := told.get("breaker"), str):
                handlers.setdefault(name, []).append(published.name)
        names = set(handlers)
        cursor: str | None = None
        while True:
            keys, cursor = await self._backend.state_keys(SCOPE, cursor)
            names.update(key for key in keys if "#" not in key)
            if cursor is None:
                break
        return [await self._listing(name, sorted(handlers.get(name, ()))) for name in sorted(names)]

    async def _listing(self, name: str, handlers: Sequence[str]) -> Listing:
        stored = await self._backend.state_get(SCOPE, name)
        told = read_state(stored)
        return {
            "name": name,
            "status": told.get("status", "closed"),
            "until": iso(told.get("until")),
            "reopens": told.get("reopens", 0),
            "reason": told.get("reason"),
            "host": told.get("host"),
            "handlers": handlers,
        }

    async def open(self, name: str, open_for: Duration) -> None:
        """Let nothing of its handlers run for so long, whatever it is now; hosts know within a second."""
        value = state_text(OPEN, int(time.time() * 1000) + milliseconds(open_for), 0, "opened by hand", "")
        await self._backend.state_set(SCOPE, name, value)

    async def close(self, name: str) -> bool:
        """Close it, and forget what it counted. False if it was closed."""
        keys, _ = await self._backend.state_keys(SCOPE)
        counts = [StateOp("delete", key) for key in keys if key.startswith(f"{name}#")]
        results = await self._backend.state_change(SCOPE, [StateOp("delete", name), *counts])
        return bool(results[0])
