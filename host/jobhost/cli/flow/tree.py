"""A flow's jobs as a tree: what each came from, told by the events of its emits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jobhost.cli.output import line_of
from jobhost.listings import Listing

Place = tuple[str, str]
"""Queue and id of a job."""
MARKS = {"completed": "✓", "failed": "✗", "active": "▸", "step.completed": "✓", "step.failed": "✗", "step.started": "▸"}
MOST_CHILDREN = 20
"""Jobs that came from one that are shown one by one."""
MOST_DEPTH = 30
"""Levels that are shown."""


@dataclass(slots=True)
class Node:
    """A job, or a sub-flow, and the trigger by which it came."""

    text: str
    trigger: str | None = None
    below: list[Node] = field(default_factory=list)


def tree_of(jobs: Sequence[Listing], events: Sequence[Listing], children: Sequence[Listing]) -> list[Node]:
    """The first steps of a flow with all that came from them."""
    known = {(job["queue"], job["id"]): job for job in jobs}
    last: dict[Place, Listing] = {}
    names: dict[Place, str] = {}
    came: dict[Place, tuple[Place, str]] = {}
    nodes: dict[Place, Node] = {}
    flows = {flow["id"]: flow for flow in children}
    under: dict[Place, list[Node]] = {}
    for event in events:
        place = (event["queue"], event["job_id"])
        if event["job_id"] is not None:
            names.setdefault(place, event["step_name"])
            if event["type"] in MARKS:
                last[place] = event
        if event["type"] == "step.emitted" and isinstance(event["data"], dict):
            _note(event["data"], place, came, names, flows, under)
    for place in dict.fromkeys([*known, *names]):
        job = known.get(place)
        nodes[place] = Node(_job_text(place, job, names.get(place), last.get(place)))
    roots = []
    for place, node in nodes.items():
        node.below = under.get(place, [])
        source, trigger = came.get(place, (None, None))
        node.trigger = trigger
        if source is None or source not in nodes:
            roots.append(node)
        else:
            nodes[source].below.append(node)
    return roots


def _note(
    data: dict[str, Any],
    source: Place,
    came: dict[Place, tuple[Place, str]],
    names: dict[Place, str],
    flows: dict[str, Listing],
    under: dict[Place, list[Node]],
) -> None:
    for name, queue, id in data.get("to", ()):
        names.setdefault((queue, id), name)
        came.setdefault((queue, id), (source, data.get("trigger", "")))
    if "starts" in data and (flow := flows.get(data.get("flow_id", ""))) is not None:
        text = f"{MARKS.get(flow['status'], ' ')} flow {line_of(flow['name'])} {flow['status']} {flow['id']}"
        under.setdefault(source, []).append(Node(text, "starts"))


def _job_text(place: Place, job: Listing | None, step: str | None, last: Listing | None) -> str:
    queue, id = place
    where = f"{queue}:{id[:12]}"
    if job is None:
        state = last["type"] if last is not None else "?"
        return f"{MARKS.get(state, ' ')} {line_of(step)} {state.removeprefix('step.')} ({where}, kept no more)"
    state = job["state"]
    tried = f" #{job['attempts_made']}" if job["attempts_made"] > 1 else ""
    name = line_of(job["name"])
    error = job["error"]
    told = f" {line_of(error.get('type'))}: {line_of(error.get('message'))}" if isinstance(error, dict) else ""
    return f"{MARKS.get(state, '·')} {name} {state}{tried}{_took(job)} ({where}){told}"


def _took(job: Listing) -> str:
    if not job["started_at"] or not job["finished_at"]:
        return ""
    took = datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])
    ms = round(took.total_seconds() * 1000)
    return f" {ms} ms" if ms < 10_000 else f" {ms / 1000:.1f} s"


def lines_of(nodes: Sequence[Node]) -> Iterator[str]:
    """The lines of a tree. Of many jobs on one branch the first are shown, and of a long chain its beginning, with how many more there
    are: a flow may have ten thousand steps, one below the other."""
    todo: list[tuple[Node | int, str, bool]] = _branch(nodes, "")
    while todo:
        node, indent, last = todo.pop()
        corner = "└─" if last else "├─"
        if isinstance(node, int):
            yield f"{indent}{corner} … and {node:,} more"
            continue
        trigger = f"{line_of(node.trigger)} → " if node.trigger else ""
        yield f"{indent}{corner} {trigger}{node.text}"
        deeper = indent + ("   " if last else "│  ")
        if len(deeper) > 3 * MOST_DEPTH and node.below:
            yield f"{deeper}└─ … and {_size(node.below):,} more below"
        else:
            todo += _branch(node.below, deeper)


def _branch(nodes: Sequence[Node], indent: str) -> list[tuple[Node | int, str, bool]]:
    """The nodes of one branch, the first of them last: a stack."""
    shown: list[Node | int] = list(nodes[:MOST_CHILDREN])
    if len(nodes) > MOST_CHILDREN:
        shown.append(len(nodes) - MOST_CHILDREN)
    return [(node, indent, number == 0) for number, node in enumerate(reversed(shown))]


def _size(nodes: Sequence[Node]) -> int:
    """How many nodes there are here and below."""
    count, todo = 0, list(nodes)
    while todo:
        node = todo.pop()
        count += 1
        todo += node.below
    return count
