"""What every side is given: seven fields, about 100 bytes as JSON."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

_STAMP = struct.Struct("<qq")


def payload(n: int) -> dict[str, Any]:
    tags = ["a", "b"]
    return {"n": n, "to": "someone@example.org", "kind": "mail", "lang": "en", "tags": tags, "ok": True, "size": 80}


def noop(data: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "n": data["n"]}


def stamp(file: int, n: int) -> None:
    """Note that job `n` has started, in the form of handlers/stamp."""
    os.write(file, _STAMP.pack(n, time.monotonic_ns()))


def stamps(path: Path) -> dict[int, int]:
    """When each job started: CLOCK_MONOTONIC in ns, which is the same in all processes."""
    return dict(_STAMP.iter_unpack(path.read_bytes())) if path.exists() else {}
