"""`jobhost flow graph`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import print_json
from jobhost.cli.project import bundle_option, load_project
from jobhost.cli.session import Store, json_option, store_options


@click.command("graph", epilog=examples("jobhost flow graph", "jobhost flow graph orders > orders.mmd"))
@click.argument("name", required=False)
@store_options
@bundle_option
@json_option
def command(store: Store, name: str | None, bundles: tuple[Path, ...], as_json: bool) -> None:
    """Draw the steps of this project's flows, or of the flow NAME, as a Mermaid flowchart. What is wrong with it goes to stderr."""
    from jobhost.errors import UnknownFlowError
    from jobhost.flow_graph import graph_of, mermaid
    from jobhost.logs import printable
    from jobhost.probe import collect

    config = load_project(store, bundles)
    graph = graph_of(asyncio.run(collect(config)).entries, config.flows.external)
    for problem in graph.wrong:
        click.echo(printable(f"problem: {problem}"), err=True)
    if name is not None:
        known = [step.flow for step in graph.steps if step.flow is not None]
        if name not in known:
            raise UnknownFlowError(name, known)
        graph = graph.of(name)
    if as_json:
        steps = [
            {
                "handler": step.handler,
                "step": step.step,
                "flow": step.flow,
                "subscribes": step.subscribes,
                "emits": step.emits,
            }
            for step in graph.steps
        ]
        print_json({"steps": steps, "edges": [{"from": of, "to": to, "trigger": by} for of, to, by in graph.edges]})
    else:
        click.echo(mermaid(graph))
