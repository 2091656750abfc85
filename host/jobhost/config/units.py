"""Checks of single values. Durations become milliseconds and sizes bytes, under the key's own name.

Written values carry their unit, settled ones do not: `idle_timeout = "60s"` is `60000`. A bare number is refused with the SDK's
own message, so that a decorator and the file are corrected by the same words. Types are TOML's: the text "3" is no number.
"""

from __future__ import annotations

from collections.abc import Callable

from jobhost_sdk.durations import milliseconds, size_in_bytes

LONGEST_MS = 3650 * 86_400_000
"""Ten years. Sums with the current time stay within what every backend and language can store."""

_MOST = 2**31 - 1
_SHOWN = 60
"""Characters of a wrong value that a message quotes."""


def shown(value: object) -> str:
    """A wrong value as messages quote it."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def delay(value: object) -> int:
    """Milliseconds of a duration, zero included."""
    ms = milliseconds(value)
    if ms > LONGEST_MS:
        raise ValueError(f"{value!r} is longer than ten years")
    return ms


def span(value: object) -> int:
    """Milliseconds of a duration above zero."""
    ms = delay(value)
    if ms == 0:
        raise ValueError(f"{value!r} must be longer than nothing")
    return ms


def timeout(value: object) -> int:
    """Milliseconds of a limit; "none" gives 0, which means no limit."""
    if value == "none":
        return 0
    ms = delay(value)
    if ms == 0:
        raise ValueError(f'{value!r} would end every run at once: write "none" for no limit')
    return ms


def size(value: object) -> int:
    """Bytes of a size above zero."""
    count = size_in_bytes(value)
    if not 0 < count < 2**63:
        raise ValueError(f"{value!r} is out of range")
    return count


def whole(least: int) -> Callable[[object], int]:
    """A check for a whole number of at least so much."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value > _MOST:
            raise ValueError(f"should be a whole number, not {shown(value)}")
        if value < least:
            raise ValueError(f"should be {least} or more, not {value}")
        return value

    return check


count = whole(1)


def share(value: object) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"should be a number from 0 to 1, not {shown(value)}")
    return float(value)


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"should be true or false, not {shown(value)}")
    return value


def text(value: object) -> str:
    """A text, which may be empty."""
    if not isinstance(value, str):
        raise ValueError(f"should be a text, not {shown(value)}")
    return value


def name(value: object) -> str:
    """A text that says something."""
    if not text(value).strip():
        raise ValueError("must not be empty")
    return text(value)


def one_of(*options: str) -> Callable[[object], str]:
    """A check for one of some words."""

    def check(value: object) -> str:
        if value not in options:
            listed = ", ".join(f'"{option}"' for option in options[:-1])
            raise ValueError(f'should be {listed} or "{options[-1]}", not {shown(value)}')
        return str(value)

    return check
