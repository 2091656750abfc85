"""The graph of a project's flows, from what its handlers declare: what is wrong with it, and how it looks."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from jobhost.catalogue import Entry
from jobhost.queues.flows import STARTS, STEP, SUBFLOW, reserved


@dataclass(slots=True, frozen=True)
class Step:
    """A handler with flow settings."""

    handler: str
    step: str
    flow: str | None
    file: str
    line: int | None
    subscribes: tuple[str, ...]
    emits: tuple[str, ...]
    all_of_them: bool
    cycles: bool


@dataclass(slots=True)
class Graph:
    """Steps, and the edges between them: (from, to, trigger), by names of handlers."""

    steps: list[Step]
    edges: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Mistakes: a step that can't ever run."""
    noted: list[str] = field(default_factory=list)
    """What may be meant as it is."""

    def of(self, flow: str) -> Graph:
        """The part that a flow's own steps, and those that they lead to, make up."""
        inside = {step.handler for step in self.steps if step.flow == flow}
        while more := {to for of, to, _ in self.edges if of in inside} - inside:
            inside |= more
        edges = [edge for edge in self.edges if edge[0] in inside and edge[1] in inside]
        return Graph([step for step in self.steps if step.handler in inside], edges)


def steps_of(entries: Iterable[Entry]) -> list[Step]:
    """The steps among a catalogue's handlers, by name."""
    found = []
    for entry in entries:
        flow = entry.settings.flow
        if flow is not None:
            found.append(
                Step(
                    entry.name,
                    flow.step or entry.name,
                    flow.name,
                    entry.file,
                    entry.line,
                    tuple(dict.fromkeys(flow.subscribes)),
                    tuple(dict.fromkeys(flow.emits)),
                    flow.join == "all",
                    flow.cycles,
                )
            )
    return sorted(found, key=lambda step: step.handler)


def graph_of(entries: Iterable[Entry], external: Sequence[str] = ()) -> Graph:
    """Build and check the graph. `external`: patterns of triggers that come from elsewhere."""
    graph = Graph(steps_of(entries))
    sources = _sources(graph.steps)
    for step in graph.steps:
        for trigger in step.emits:
            if reserved(trigger):
                graph.wrong.append(
                    _at(step, f"emits {trigger!r}: triggers that begin with step:, flow: or start: are jobhost's own")
                )
        for trigger in step.subscribes:
            if trigger.startswith(STARTS):
                graph.wrong.append(_at(step, f"subscribes to {trigger!r}: leave subscribes empty to begin a flow"))
            elif trigger in sources:
                graph.edges += [(source, step.handler, trigger) for source in sources[trigger]]
            elif not _matches(trigger, external):
                graph.wrong.append(_at(step, _unknown(trigger, sources)))
    subscribed = {trigger for step in graph.steps for trigger in step.subscribes}
    for step in graph.steps:
        for trigger in step.emits:
            if trigger not in subscribed and not reserved(trigger):
                graph.noted.append(_at(step, f"emits {trigger!r}, which no handler here subscribes to"))
    _find_cycles(graph)
    _find_unreachable(graph, external)
    return graph


def _sources(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Which handlers each trigger comes from. The end of a sub-flow comes from its steps that lead nowhere, for want of better."""
    sources: dict[str, list[str]] = {}
    for step in steps:
        for trigger in (*step.emits, f"{STEP}{step.step}", f"{STEP}{step.step}:failed"):
            sources.setdefault(trigger, []).append(step.handler)
        if step.flow is not None and not step.subscribes:
            for trigger in (f"{SUBFLOW}{step.flow}", f"{SUBFLOW}{step.flow}:failed"):
                sources.setdefault(trigger, []).append(step.handler)
    return sources


def _unknown(trigger: str, sources: dict[str, list[str]]) -> str:
    close = get_close_matches(trigger, sources, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    text = f"subscribes to {trigger!r}, which no handler here emits{hint}"
    return text if reserved(trigger) else f"{text} (if it comes from elsewhere: external = [{trigger!r}] in [flows])"


def _at(step: Step, text: str) -> str:
    place = f"{step.file}:{step.line}" if step.line else step.file
    return f"{place}: handler {step.handler!r}: {text}"


def _matches(trigger: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(trigger, pattern) for pattern in patterns)


def _find_cycles(graph: Graph) -> None:
    """Name each way back of a step to itself once, unless one of its steps allows it."""
    follows: dict[str, list[str]] = {}
    for source, to, trigger in graph.edges:
        if not trigger.startswith(SUBFLOW):  # a parent waits for its sub-flow: that is no way back
            follows.setdefault(source, []).append(to)
    steps = {step.handler: step for step in graph.steps}
    done: set[str] = set()
    for first in steps:
        path: list[str] = []
        places: dict[str, int] = {}
        todo: list[tuple[str, int]] = [(first, 0)]
        while todo:
            name, depth = todo.pop()
            for left in path[depth:]:
                del places[left]
            del path[depth:]
            if name in places:
                cycle = path[places[name] :]
                if not any(steps[each].cycles for each in cycle):
                    way = " -> ".join([*cycle, name])
                    graph.wrong.append(
                        _at(steps[name], f"the flow comes back to it: {way}; cycles = true in its flow allows that")
                    )
                continue
            if name in done:
                continue
            places[name] = len(path)
            path.append(name)
            todo += [(to, depth + 1) for to in sorted(set(follows.get(name, ())), reverse=True)]
        done |= _reached_from(first, follows)


def _reached_from(first: str, follows: dict[str, list[str]]) -> set[str]:
    reached, todo = {first}, [first]
    while todo:
        for to in follows.get(todo.pop(), ()):
            if to not in reached:
                reached.add(to)
                todo.append(to)
    return reached


def _find_unreachable(graph: Graph, external: Sequence[str]) -> None:
    """Steps that no first step and no trigger from elsewhere leads to."""
    sources: dict[tuple[str, str], set[str]] = {}
    for source, to, trigger in graph.edges:
        sources.setdefault((to, trigger), set()).add(source)
    reached: set[str] = set()
    again = True
    while again:
        again = False
        for step in graph.steps:
            if step.handler in reached:
                continue
            there = [
                _matches(trigger, external) or bool(sources.get((step.handler, trigger), set()) & reached)
                for trigger in step.subscribes
            ]
            if not there or (all(there) if step.all_of_them else any(there)):
                reached.add(step.handler)
                again = True
    known = [step for step in graph.steps if any((step.handler, trigger) in sources for trigger in step.subscribes)]
    graph.wrong += [_at(step, "no first step of a flow leads to it") for step in known if step.handler not in reached]


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html): first steps round, joins as hexagons."""
    lines = ["flowchart LR"]
    names = {step.handler: f"s{number}" for number, step in enumerate(graph.steps)}
    for step in graph.steps:
        text = _quoted(step.step if step.step == step.handler else f"{step.step} ({step.handler})")
        left, right = ("([", "])") if not step.subscribes else ("{{", "}}") if step.all_of_them else ("[", "]")
        lines.append(f"  {names[step.handler]}{left}{text}{right}")
    for source, to, trigger in graph.edges:
        arrow = "-.->" if trigger.startswith((STEP, SUBFLOW)) else "-->"
        lines.append(f"  {names[source]} {arrow}|{_quoted(trigger)}| {names[to]}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A text that Mermaid shows as it is: what means something to it, or would end the line, becomes a character's number."""
    return '"' + re.sub(r'["\\<>|#\x00-\x1f]', lambda char: f"#{ord(char[0])};", text) + '"'
