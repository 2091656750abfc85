"""A flow's jobs as a tree, from its events: branches, chains, sub-flows, jobs that are kept no more."""

from __future__ import annotations

from typing import Any

from jobhost.cli.flow.timeline import event_text
from jobhost.cli.flow.tree import lines_of, tree_of

TIME = "2026-11-27T08:00:00.250Z"


def job(id: str, name: str, state: str = "completed", error: Any = None) -> dict[str, Any]:
    return {
        "id": id,
        "queue": "default",
        "name": name,
        "state": state,
        "attempts_made": 1,
        "error": error,
        "started_at": TIME,
        "finished_at": TIME if state != "active" else None,
    }


def event(type: str, id: str | None = None, step: str | None = None, data: Any = None) -> dict[str, Any]:
    queue = None if id is None else "default"
    return {
        "ts": TIME,
        "type": type,
        "queue": queue,
        "job_id": id,
        "step_name": step,
        "attempt": 1 if id else 0,
        "data": data,
    }


def emitted(id: str, trigger: str, *to: tuple[str, str]) -> dict[str, Any]:
    return event("step.emitted", id, id, {"trigger": trigger, "to": [[name, "default", job] for name, job in to]})


def shown(jobs: Any, events: Any, children: Any = ()) -> list[str]:
    return list(lines_of(tree_of(jobs, events, children)))


def test_jobs_stand_below_what_they_came_from() -> None:
    jobs = [
        job("1", "place"),
        job("2", "charge", "failed", {"type": "E", "message": "no\x1b[31m"}),
        job("3", "pack", "active"),
    ]
    assert shown(jobs, [emitted("1", "placed", ("charge", "2"), ("pack", "3"))]) == [
        "└─ ✓ place completed 0 ms (default:1)",
        "   ├─ placed → ✗ charge failed 0 ms (default:2) E: no",
        "   └─ placed → ▸ pack active (default:3)",
    ]


def test_jobs_that_are_kept_no_more_are_known_from_events() -> None:
    events = [
        event("step.started", "1", "place"),
        event("step.completed", "1", "place"),
        emitted("1", "placed", ("charge", "2")),
    ]
    assert shown([], events) == [
        "└─ ✓ place completed (default:1, kept no more)",
        "   └─ placed →   charge ? (default:2, kept no more)",
    ]


def test_sub_flows_stand_below_the_step_that_began_them() -> None:
    start = event("step.emitted", "1", "split", {"starts": "parcels", "flow_id": "f2"})
    child = {"id": "f2", "name": "parcels", "status": "completed"}
    assert shown([job("1", "split")], [start], [child])[1] == "   └─ starts → ✓ flow parcels completed f2"


def test_long_branches_and_chains_are_cut() -> None:
    """F5: a flow of 10,000 steps is shown, and not all of it."""
    many = [job("0", "split"), *(job(str(number), "part") for number in range(1, 101))]
    lines = shown(many, [emitted("0", "part", *(("part", str(number)) for number in range(1, 101)))])
    assert (len(lines), lines[-1]) == (22, "   └─ … and 80 more")
    chain = [job(str(number), "step") for number in range(10_000)]
    lines = shown(chain, [emitted(str(number), "next", ("step", str(number + 1))) for number in range(9_999)])
    assert len(lines) == 32
    assert lines[-1].strip() == "└─ … and 9,969 more below"


def test_events_are_lines_of_bounded_length() -> None:
    long = event_text(event("step.completed", "1", "place", {"result": "x" * 10_000}))
    assert len(long) < 220
    assert "step.completed" in long
    retry = event("step.retry", "1", "place", {"error": {"type": "E", "message": "no"}, "delay_ms": 200})
    assert event_text(retry).endswith("step.retry      place #1 E: no; again in 200 ms")
    unmet = event("flow.completed", data={"unmet": ["refund"]})
    assert event_text(unmet).endswith("flow.completed  never got all they wait for: refund")
    nobody = event("step.emitted", "1", "place", {"trigger": "lost", "to": [], "key": "k"})
    assert event_text(nobody).endswith("place #1 lost [k] -> nobody")
