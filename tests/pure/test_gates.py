"""The gates themselves: what passes, what does not, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import __main__ as gates


def entry(covered: int, of: int, branches: int, of_branches: int) -> dict[str, Any]:
    return {
        "summary": {
            "covered_lines": covered,
            "num_statements": of,
            "missing_lines": of - covered,
            "covered_branches": branches,
            "num_branches": of_branches,
        }
    }


GOOD = entry(90, 100, 45, 50)


@pytest.mark.parametrize(
    ("package", "bad", "said"),
    [
        ("jobhost", entry(79, 100, 50, 50), "jobhost: covered: 79.0 % of lines; the floor is 80 %"),
        (
            "jobhost_runtimes",
            entry(90, 100, 39, 50),
            "jobhost_runtimes: covered: 78.0 % of branches; the floor is 80 %",
        ),
        (
            "jobhost_sdk",
            entry(0, 100, 0, 50),
            "jobhost_sdk: covered: 0.0 % of lines, 0.0 % of branches; the floor is 80 %",
        ),
        ("jobhost_sdk", entry(80, 100, 40, 50), None),
    ],
)
def test_each_package_has_a_floor_of_coverage(package: str, bad: dict[str, Any], said: str | None) -> None:
    """P4: 80 % of lines and of branches, of every package for itself: a well covered host does not hide a bare SDK."""
    files = {f"x/{name}/a.py": GOOD for name in gates.PACKAGES}
    files[f"x/{package}/a.py"] = bad
    assert gates.uncovered(files) == said


def test_a_package_that_was_not_measured_is_not_covered() -> None:
    """P4: no figures are no pass."""
    files = {f"x/{name}/a.py": GOOD for name in gates.PACKAGES if name != "jobhost_sdk"}
    assert gates.uncovered(files) == "jobhost_sdk: nothing was measured"


def test_the_node_sdk_has_the_same_floor() -> None:
    """P4: both SDKs."""
    text = Path(gates.NODE_TESTS, "coverage.js").read_text()
    assert f"= {gates.COVERAGE}" in text


def test_packages_are_typed() -> None:
    """P4: `py.typed` in each package, declarations in the Node SDK, and a consumer project that is type-checked."""
    for package in ("host/jobhost", "runtimes/jobhost_runtimes", "sdk_python/jobhost_sdk"):
        assert (gates.ROOT / package / "py.typed").is_file()
    described = json.loads((gates.ROOT / "sdk_node" / "package.json").read_text())
    assert (gates.ROOT / "sdk_node" / described["types"]).is_file()
    assert list(gates.CONSUMER.glob("*.py"))


def test_a_failed_step_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """One run says everything; its exit code is 1 if anything failed."""
    run = gates.Gates(quick=False)
    run.step("first", lambda: "a reason")
    run.step("second", lambda: None)
    assert (run.passed, run.failed) == (1, ["first: a reason"])
    assert gates.closing(run) == 1
    assert "FAILED first: a reason\n1 passed, 1 failed" in capsys.readouterr().out
    assert gates.closing(gates.Gates(quick=False)) == 0
