"""The command: measures the named subjects, or all, and prints one table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import traceback
from pathlib import Path

from .measure import Options, Row

SUBJECTS = (
    "throughput_memory",
    "throughput_sqlite",
    "throughput_redis",
    "throughput_postgres",
    "latency",
    "latency_redis",
    "start",
    "growth",
    "isolation",
    "flows",
    "fairness",
    "testing_kit",
)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="one short round: does it still run?")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SUBJECTS):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    rows: list[Row] = []
    broken: list[str] = []
    for name in given.names or SUBJECTS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            found: list[Row] = importlib.import_module(f"{__package__}.{name}").measure(Options(given.quick))
        except Exception:  # noqa: BLE001 - one broken subject must not cost the figures of the others
            traceback.print_exc()
            broken.append(name)
            continue
        rows += found
        for row in found:
            print(f"  {row.what}: {number(row.ours)} {row.unit}", file=sys.stderr, flush=True)
        if given.json:  # after each: a run that is cut off keeps what it found
            given.json.write_text(json.dumps([as_json(row) for row in rows], indent=1) + "\n")
    show(rows)
    if broken:
        print(f"could not be measured: {', '.join(broken)}")
    return 1 if broken or any(row.met is False for row in rows) else 0


def show(rows: list[Row]) -> None:
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    table = [("what", "jobhost", "peer", "ratio", "goal", "met")]
    table += [
        (
            row.what,
            f"{number(row.ours)} {row.unit}",
            "" if row.peer is None else f"{number(row.peer)} {row.peer_name}",
            "" if row.ratio is None else f"{row.ratio:.3g}",
            goal(row),
            "" if row.met is None else "yes" if row.met else "NO",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def goal(row: Row) -> str:
    unit = "x" if row.peer is not None else f" {row.unit}"
    if row.at_least is not None:
        return f">= {row.at_least:g}{unit}"
    return "" if row.at_most is None else f"<= {row.at_most:g}{unit}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def as_json(row: Row) -> dict[str, object]:
    return {
        "what": row.what,
        "jobhost": row.ours,
        "unit": row.unit,
        "peer": row.peer,
        "peer_name": row.peer_name,
        "ratio": row.ratio,
        "goal": goal(row),
        "met": row.met,
    }


if __name__ == "__main__":
    sys.exit(main())
