"""A host that is killed before and after every step of its commits: no emit is lost, and none is doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres_server import fresh_url
from tests.redis_server import fresh_prefix, server_url

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 540


def crash(url: str, prefix: str, cycles: int) -> dict[str, int]:
    """Run the program; gives its counts."""
    command = [sys.executable, "-m", "tests.faults.crash_points", url, prefix, str(cycles)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def store(kind: str, folder: Path) -> tuple[str, str]:
    if kind == "postgres":
        return fresh_url(), "unused"
    return (server_url(), fresh_prefix()) if kind == "redis" else (str(folder / "jobs.db"), "unused")


@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_a_few_deaths_lose_and_double_nothing(kind: str, tmp_path: Path) -> None:
    """F5, G6: exactly once."""
    counts = crash(*store(kind, tmp_path), 60)
    assert counts["cycles"] == 60
    assert counts["died"] >= 50


@pytest.mark.long
@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize(("kind", "cycles", "each"), [("sqlite", 1_400, 2), ("redis", 900, 2), ("postgres", 600, 1)])
def test_deaths_at_every_step_lose_and_double_nothing(kind: str, cycles: int, each: int, tmp_path: Path) -> None:
    """F5, G6: exactly once; at every step there is a host dies at least so often."""
    counts = crash(*store(kind, tmp_path), cycles)
    assert counts["died"] >= cycles * 0.8
    assert cycles >= each * counts["steps"]
