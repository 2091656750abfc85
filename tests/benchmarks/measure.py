"""Running programs, in turn, and medians of what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
HANDLERS = Path(__file__).parent / "handlers"
PATIENCE = 300
"""Seconds for one program."""
Figures = dict[str, float]


@dataclass(slots=True, frozen=True)
class Options:
    """`quick`: fewer jobs and one round, to see that everything still runs; its figures mean little."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 3

    def count(self, full: int) -> int:
        return max(100, full // 10) if self.quick else full


@dataclass(slots=True, frozen=True)
class Row:
    """One line of the table. `goal` is about `ratio` where there is a peer, else about `ours`."""

    what: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if not self.peer else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        value = self.ours if self.peer is None else self.ratio
        if value is None or (self.at_least is None and self.at_most is None):
            return None
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


def program(name: str, environment: Mapping[str, str] | None = None, **argument: Any) -> Figures:
    """Run one of `programs` and give what it prints."""
    command = [sys.executable, "-m", f"tests.benchmarks.programs.{name}", json.dumps(argument)]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(**environment or {}), capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode:
        raise RuntimeError(f"{name} {argument} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without the switches that would slow a measured process down, such as coverage."""
    slow = ("COVERAGE", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONTRACEMALLOC")
    return {name: value for name, value in os.environ.items() if not name.startswith(slow)} | more


def in_turn(sides: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, Figures]:
    """Measure all sides once in each round; medians over the rounds. So a slow moment of the machine meets all of them."""
    found: dict[str, list[Figures]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            found[name].append(measure())
    return {name: {key: median(one[key] for one in all_) for key in all_[0]} for name, all_ in found.items()}
