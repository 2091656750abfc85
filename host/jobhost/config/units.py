"""Field types of the configuration: durations become milliseconds and sizes bytes, under the key's own name.

Written values carry their unit, validated ones do not: `idle_timeout = "60s"` is `60000`. A bare number is refused with
the SDK's own message, so that a decorator and the file are corrected by the same words.
"""

from __future__ import annotations

from typing import Annotated

from jobhost_sdk.durations import milliseconds, size_in_bytes
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator

LONGEST_MS = 3650 * 86_400_000
"""Ten years. Sums with the current time stay within what every backend and language can store."""


class Section(BaseModel):
    """A table of the file. Unknown keys are errors, types are TOML's own (the text "3" is no number), values are fixed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def delay(value: object) -> int:
    """Milliseconds of a duration, zero included. Raises ValueError."""
    ms = milliseconds(value)
    if ms > LONGEST_MS:
        raise ValueError(f"{value!r} is longer than ten years")
    return ms


def span(value: object) -> int:
    """Milliseconds of a duration above zero. Raises ValueError."""
    ms = delay(value)
    if ms == 0:
        raise ValueError(f"{value!r} must be longer than nothing")
    return ms


def timeout(value: object) -> int:
    """Milliseconds of a limit; "none" gives 0, which means no limit. Raises ValueError."""
    if value == "none":
        return 0
    ms = delay(value)
    if ms == 0:
        raise ValueError(f'{value!r} would end every run at once: write "none" for no limit')
    return ms


def size(value: object) -> int:
    """Bytes of a size above zero. Raises ValueError."""
    count = size_in_bytes(value)
    if not 0 < count < 2**63:
        raise ValueError(f"{value!r} is out of range")
    return count


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Delay = Annotated[int, PlainValidator(delay)]
Span = Annotated[int, PlainValidator(span)]
Timeout = Annotated[int, PlainValidator(timeout)]
Size = Annotated[int, PlainValidator(size)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Text = Annotated[str, AfterValidator(_not_blank)]
