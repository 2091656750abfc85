"""What is known of a run that timed out or died, kept with its error: how it ended, what was asked last, and where its threads were."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Any

STACKS = signal.SIGUSR2
"""A Python child answers it with the stacks of its threads on stderr, whatever its handler is doing (its SDK sees to that). A Node child
knows the deadline itself, and tells where its main thread is when it has passed."""
LINES, MOST = 200, 32 * 1024
"""Lines, and characters in all."""
_FIRST = re.compile(
    r"((Current thread|Thread) 0x[0-9a-f]+.*|Main thread) \(most recent call first\):|Main thread waits for: .*"
)


def dossier(
    lines: Sequence[str],
    asked: Sequence[str] = (),
    returncode: int | None = None,
    last_call: str = "",
    limit: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`lines`: of stderr, the newest last; `asked`: those that came after stacks were asked for. `limit`: `{name, value, reached}`."""
    stacks, rest = split(asked)[0], split(lines)[1]
    found: dict[str, Any] = {"stderr": _newest(rest), "stacks": _newest(stacks)}
    if returncode is not None:
        if returncode < 0:
            found["signal"] = _name(-returncode)
        else:
            found["exit_code"] = returncode
    if last_call:
        found["last_call"] = last_call
    if limit is not None:
        found["limit"] = limit
    return found


def _newest(texts: list[str]) -> list[str]:
    """The last ones that fit what is kept."""
    kept: list[str] = []
    size = 0
    for text in reversed(texts[-LINES:]):
        size += len(text)
        if size > MOST:
            break
        kept.append(text)
    return kept[::-1]


def split(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """The stacks among lines of stderr, one text a thread, and the lines that are none."""
    stacks: list[list[str]] = []
    rest: list[str] = []
    inside = False
    for line in lines:
        if _FIRST.fullmatch(line.strip()):
            stacks.append([line])
            inside = True
        elif inside and line.startswith(("  File ", "    at ")):
            stacks[-1].append(line)
        else:
            inside = inside and not line.strip()
            if line.strip() or not stacks:
                rest.append(line)
    return ["\n".join(one) for one in stacks], rest


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
