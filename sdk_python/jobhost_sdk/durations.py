"""Durations and sizes as people write them: "30s", "256MiB".

A bare number is refused. Half the field counts milliseconds and half seconds, and a timeout that is wrong by a factor
of a thousand is found only in production.
"""

from __future__ import annotations

import re
from typing import Union

Duration = str
"""A number with one of the units ms, s, m, h, d: "500ms", "30s", "2m", "1h", "7d". Decimals are allowed: "1.5s"."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", re.ASCII)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)\s*", re.ASCII)
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


def milliseconds(text: Union[str, object]) -> int:  # noqa: UP007 - Python 3.9
    """Give the milliseconds of a duration such as "30s"; raises ValueError with what to write instead."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f'{text!r} has no unit: write "{text}s" for seconds or "{text}ms" for milliseconds')
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a duration: write a number and a unit, such as "500ms", "30s", "2m", "1h"')
    return round(float(match[1]) * _MS[match[2]])


def size_in_bytes(text: Union[str, object]) -> int:  # noqa: UP007 - Python 3.9
    """Give the bytes of a size such as "256MiB"; raises ValueError with what to write instead."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f'{text!r} has no unit: write "{text}MiB" or "{text}B"')
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a size: write a number and a unit, such as "64KiB", "256MiB", "1GiB"')
    return round(float(match[1]) * _BYTES[match[2]])


def duration_text(ms: int) -> str:
    """Write milliseconds as a person would: 1500 -> "1.5s", 120000 -> "2m"."""
    for unit in ("d", "h", "m", "s"):
        if ms >= _MS[unit]:
            return f"{ms / _MS[unit]:.3f}".rstrip("0").rstrip(".") + unit
    return f"{ms}ms"
