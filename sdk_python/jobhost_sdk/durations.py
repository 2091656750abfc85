"""Durations and sizes as people write them: "30s", "256MiB".

A bare number is refused. Half the field counts milliseconds and half seconds, and a timeout that is wrong by a factor
of a thousand is found only in production.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

Duration = str
"""A number with one of the units ms, s, m, h, d: "500ms", "30s", "2m", "1h", "7d". Decimals are allowed: "1.5s"."""

_DURATION = r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*"
_SIZE = r"\s*(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)\s*"
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


def milliseconds(text: object) -> int:
    """Give the milliseconds of a duration such as "30s"; raises ValueError with what to write instead."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f'{text!r} has no unit: write "{text}s" for seconds or "{text}ms" for milliseconds')
    match = _match(_DURATION, text)
    if match is None:
        raise ValueError(f'{text!r} is not a duration: write a number and a unit, such as "500ms", "30s", "2m", "1h"')
    return round(float(match[1]) * _MS[match[2]])


def size_in_bytes(text: object) -> int:
    """Give the bytes of a size such as "256MiB"; raises ValueError with what to write instead."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f'{text!r} has no unit: write "{text}MiB" or "{text}B"')
    match = _match(_SIZE, text)
    if match is None:
        raise ValueError(f'{text!r} is not a size: write a number and a unit, such as "64KiB", "256MiB", "1GiB"')
    return round(float(match[1]) * _BYTES[match[2]])


def duration_text(ms: int) -> str:
    """Write milliseconds as a person would: 1500 -> "1.5s", 120000 -> "2m"."""
    for unit in ("d", "h", "m", "s"):
        if ms >= _MS[unit]:
            return f"{ms / _MS[unit]:.3f}".rstrip("0").rstrip(".") + unit
    return f"{ms}ms"


def _match(pattern: str, text: object) -> re.Match[str] | None:
    import re  # 10 ms: a child pays for it only where a duration is given

    return re.fullmatch(pattern, text, re.ASCII) if isinstance(text, str) else None
