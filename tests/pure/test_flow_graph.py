"""The graph of flows: what `jobhost check` finds wrong with it, and how it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobhost.catalogue import Entry
from jobhost.config.handlers import declared_options
from jobhost.flow_graph import graph_of, mermaid


def entry(name: str, of: str = "orders", **flow: Any) -> Entry:
    options, wrong = declared_options({"name": name, "flow": {"name": of, **flow}})
    assert not wrong
    return Entry(name, "default", "handlers", f"{name}.py", 3, "python", "process", "async", options, options)


ORDERS = [
    entry("place", emits=["placed"]),
    entry("charge", subscribes=["placed"], emits=["paid"]),
    entry("pack", subscribes=["placed"], emits=["packed"]),
    entry("ship", step="shipping", subscribes=["paid", "packed"], join="all", emits=["shipped"]),
    entry("refund", subscribes=["step:charge", "step:pack:failed"], join="all"),
]


def test_a_right_graph_has_nothing_wrong() -> None:
    """F5: dependencies and chains; what nobody waits for is only noted."""
    graph = graph_of(ORDERS)
    assert graph.wrong == []
    assert graph.noted == ["ship.py:3: handler 'ship': emits 'shipped', which no handler here subscribes to"]
    assert ("charge", "ship", "paid") in graph.edges
    assert ("pack", "refund", "step:pack:failed") in graph.edges


def test_unknown_triggers_name_the_nearest() -> None:
    entries = [*ORDERS, entry("mail", subscribes=["shiped"]), entry("log", subscribes=["step:chrge"])]
    wrong = graph_of(entries).wrong
    assert len(wrong) == 2
    assert "subscribes to 'step:chrge', which no handler here emits; did you mean 'step:charge'?" in wrong[0]
    assert (
        "subscribes to 'shiped', which no handler here emits; did you mean 'shipped'? (if it comes from elsewhere"
        in wrong[1]
    )
    assert graph_of([*ORDERS, entry("mail", subscribes=["other.done"])], ["other.*"]).wrong == []


def test_circles_are_named_unless_a_step_allows_them() -> None:
    circle = [
        entry("a", emits=["x"]),
        entry("b", subscribes=["x", "z"], emits=["y"]),
        entry("c", subscribes=["y"], emits=["z"]),
    ]
    [wrong] = graph_of(circle).wrong
    assert wrong.startswith("b.py:3: handler 'b': the flow comes back to it: b -> c -> b; cycles = true")
    allowed = [*circle[:2], entry("c", subscribes=["y"], emits=["z"], cycles=True)]
    assert graph_of(allowed).wrong == []


def test_steps_that_nothing_leads_to_are_named() -> None:
    island = [
        entry("place", emits=["placed"]),
        entry("x", subscribes=["b"], emits=["a"], cycles=True),
        entry("y", subscribes=["a"], emits=["b"]),
    ]
    assert [text.split(": ")[1:] for text in graph_of(island).wrong] == [
        ["handler 'x'", "no first step of a flow leads to it"],
        ["handler 'y'", "no first step of a flow leads to it"],
    ]


def test_a_join_is_reached_only_if_all_it_waits_for_is() -> None:
    entries = [
        entry("place", emits=["placed"]),
        entry("x", subscribes=["b"], emits=["a"], cycles=True),
        entry("y", subscribes=["a"], emits=["b"]),
        entry("both", subscribes=["placed", "a"], join="all"),
    ]
    assert any("handler 'both': no first step" in text for text in graph_of(entries).wrong)


def test_triggers_of_jobhost_are_its_own() -> None:
    wrong = graph_of([entry("a", emits=["step:b"]), entry("b", subscribes=["start:orders"])]).wrong
    assert any("emits 'step:b': triggers that begin with step:" in text for text in wrong)
    assert any("leave subscribes empty to begin a flow" in text for text in wrong)


def test_a_drawing_is_mermaid() -> None:
    """F5: `flow graph`."""
    lines = mermaid(graph_of(ORDERS)).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  s2(["place"])' in lines
    assert '  s4{{"shipping (ship)"}}' in lines
    assert '  s0 -->|"paid"| s4' in lines
    assert '  s0 -.->|"step:charge"| s3' in lines


def test_names_cannot_draw_anything_of_their_own() -> None:
    drawn = mermaid(graph_of([entry('a"]\n  evil["x')])).splitlines()
    assert drawn == ["flowchart LR", '  s0(["a#34;]#10;  evil[#34;x"])']


def test_a_part_of_the_graph_is_a_flow_and_what_it_leads_to() -> None:
    entries = [*ORDERS, entry("mail", "mails", subscribes=["shipped"]), entry("other", "others")]
    assert {step.handler for step in graph_of(entries).of("orders").steps} == {
        *("place", "charge", "pack", "ship", "refund", "mail"),
    }
    assert {step.handler for step in graph_of(entries).of("others").steps} == {"other"}


def test_a_long_chain_is_checked_without_recursion() -> None:
    chain = [
        entry(f"s{number:05}", subscribes=[f"t{number}"] if number else [], emits=[f"t{number + 1}"])
        for number in range(5_000)
    ]
    graph = graph_of(chain)
    assert graph.wrong == []
    assert len(graph.edges) == 4_999
    assert Path(chain[0].file).name == "s00000.py"
