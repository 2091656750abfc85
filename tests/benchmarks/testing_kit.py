"""`jobhost.testing`: tests a second, each with a fresh host, one handler, one job and one assertion."""

from __future__ import annotations

from functools import partial

from .measure import Options, Row, in_turn, program

TESTS = 3_000
LEAST = 1_000
"""Tests a second: a suite of a thousand handlers shall not be slower than the import of what it tests."""


def measure(options: Options) -> list[Row]:
    tests = options.count(TESTS)
    sides = {kind: partial(program, "job_tests", kind=kind, tests=tests) for kind in ("async", "sync")}
    sides |= {
        f"sdk {kind}": partial(program, "job_tests", kind=f"sdk {kind}", tests=tests) for kind in ("async", "sync")
    }
    found = in_turn(sides, options.rounds)
    return [
        Row("whole host, asynchronous handler", found["async"]["per_s"], "tests/s", at_least=LEAST),
        Row("whole host, blocking handler", found["sync"]["per_s"], "tests/s", at_least=LEAST),
        Row("jobhost_sdk.testing, asynchronous handler", found["sdk async"]["per_s"], "tests/s", at_least=LEAST),
        Row("jobhost_sdk.testing, blocking handler", found["sdk sync"]["per_s"], "tests/s", at_least=LEAST),
    ]
