"""Who pays when a child dies."""

from __future__ import annotations

import signal
from typing import Any

from jobhost_runtimes.blame import Death, blame, death_error
from jobhost_runtimes.run import Ending, Run


def run(name: str, started: bool = True) -> Run:
    made = Run(name, "h", {"name": "h", "id": name}, {}, lambda run, outcome: None)
    made.started = started
    return made


def verdicts(death: Death, *runs: Run) -> list[tuple[str, Ending, bool]]:
    return [(each.token, outcome.ending, outcome.suspect) for each, outcome in blame(death, list(runs))]


def test_a_run_alone_is_the_cause_and_those_behind_it_never_began() -> None:
    death = Death(returncode=-signal.SIGKILL)
    assert verdicts(death, run("a"), run("b", started=False)) == [
        ("a", Ending.DIED, False),
        ("b", Ending.UNSTARTED, False),
    ]


def test_of_several_without_a_known_cause_all_are_suspects() -> None:
    assert verdicts(Death(returncode=1), run("a"), run("b")) == [
        ("a", Ending.BYSTANDER, True),
        ("b", Ending.BYSTANDER, True),
    ]


def test_a_known_cause_clears_the_others() -> None:
    a, b = run("a"), run("b")
    assert verdicts(Death(returncode=-9, culprit=a), a, b) == [
        ("a", Ending.DIED, False),
        ("b", Ending.BYSTANDER, False),
    ]


def told(**facts: Any) -> dict[str, str]:
    return death_error(Death(**facts))


def test_the_error_names_the_signal_or_the_code_and_quotes_the_last_lines() -> None:
    error = told(returncode=-signal.SIGSEGV, tail="one\ntwo")
    assert error["type"] == "ChildDied"
    assert error["origin"] == "child"
    assert error["message"] == "the child was killed by SIGSEGV; its last lines of stderr:\none\ntwo"
    assert told(returncode=0)["message"] == "the child exited with code 0 before the job was done"
    assert told(returncode=3)["message"] == "the child exited with code 3 before the job was done"


def test_the_error_names_a_violation_and_a_limit() -> None:
    assert (
        told(violation="it broke the protocol: x", returncode=-9)["message"]
        == "the child was killed: it broke the protocol: x"
    )
    error = told(memory=(600 * 2**20, 512 * 2**20), returncode=-9)
    assert (error["type"], error["origin"]) == ("MemoryLimitError", "host")
    assert error["message"] == "the child and its processes used 600 MiB of memory; the limit is 512 MiB"


def test_an_abort_that_smells_of_memory_says_so() -> None:
    error = told(returncode=-signal.SIGABRT, tail="FATAL ERROR: JavaScript heap out of memory")
    assert "killed by SIGABRT, probably out of memory" in error["message"]
