"""Who pays when a child dies: the rows of the design's table in one place.

A run that was alone, or is known to be the cause, uses up an attempt. Runs that only stood by go back without one. If several ran
and nobody knows which did it, all are suspects.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .run import Ending, Outcome, Run, host_error

_MIB = 1024 * 1024
QUOTED_LINES = 20
_OUT_OF_MEMORY = ("heap out of memory", "MemoryError", "std::bad_alloc", "Cannot allocate memory")


@dataclass(slots=True)
class Death:
    """What is known of a child's end. `memory`: (bytes used, bytes allowed). `culprit`: the run known to be the cause."""

    returncode: int | None = None
    violation: str | None = None
    memory: tuple[int, int] | None = None
    cpu_time: tuple[float, float] | None = None
    """Seconds used, seconds allowed."""
    processes: tuple[int, int] | None = None
    """Seen, allowed."""
    culprit: Run | None = None
    tail: str = ""


def blame(death: Death, runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
    """Give each live run of a dead child its outcome."""
    started = [run for run in runs if run.started]
    for run in runs:
        if not run.started:
            yield run, Outcome(Ending.UNSTARTED)
        elif run is death.culprit or len(started) == 1:
            yield run, Outcome(Ending.DIED, error=death_error(death))
        elif death.culprit is not None:
            yield run, Outcome(Ending.BYSTANDER, error=death_error(death))
        else:
            yield run, Outcome(Ending.BYSTANDER, error=death_error(death), suspect=True)


def death_error(death: Death) -> dict[str, str]:
    """The error of a run whose child died: what ended it, in words, and its last lines of stderr."""
    if death.memory is not None:
        used, limit = death.memory
        message = f"the child and its processes used {used // _MIB} MiB of memory; the limit is {limit // _MIB} MiB"
        return host_error("MemoryLimitError", _quoting(message, death.tail), "host")
    if death.cpu_time is not None:
        spent, most = death.cpu_time
        message = (
            f"the run used {spent:.1f} s of processor time; the limit is {most:g} s (cpu_time in [bundles.limits])"
        )
        return host_error("CpuTimeLimitError", _quoting(message, death.tail), "host")
    if death.processes is not None:
        seen, most = death.processes
        message = f"the child had {seen} processes; the limit is {most} (processes in [bundles.limits])"
        return host_error("ProcessLimitError", _quoting(message, death.tail), "host")
    return host_error("ChildDied", _quoting(_manner(death), death.tail), "child")


def limit_hit(death: Death, timeout_ms: int) -> dict[str, Any] | None:
    """Which limit ended it, as dossiers tell it: name, value, and what was reached. `timeout_ms`: of the run, if that has passed."""
    if timeout_ms:
        return {"name": "timeout", "value_ms": timeout_ms}
    if death.cpu_time is not None:
        spent, most = death.cpu_time
        return {"name": "cpu_time", "value_ms": round(most * 1000), "reached_ms": round(spent * 1000)}
    for name, found in (("processes", death.processes), ("memory", death.memory)):
        if found is not None:
            return {"name": name, "value": found[1], "reached": found[0]}
    return None


def _manner(death: Death) -> str:
    if death.violation is not None:
        return f"the child was killed: {death.violation}"
    code = death.returncode
    if code is None:
        return "the child could not be reached any more"
    if code >= 0:
        return f"the child {ending(code)} before the job was done"
    hint = ", probably out of memory" if any(word in death.tail for word in _OUT_OF_MEMORY) else ""
    return f"the child {ending(code)}{hint}"


def ending(code: int) -> str:
    """How a process ended, by its return code (negative: the signal)."""
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name if -code in {item.value for item in signal.Signals} else f"signal {-code}"
    return f"was killed by {name}"


def _quoting(message: str, tail: str) -> str:
    lines = tail.splitlines()[-QUOTED_LINES:]
    if not lines:
        return message
    return message + "; its last lines of stderr:\n" + "\n".join(lines)
