"""`jobhost flow`: verbs for flows."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "start": ("flow.start", "Start a flow."),
    "list": ("flow.list", "List flows, the newest first."),
    "show": ("flow.show", "Show a flow: its steps as a tree, and what happened."),
    "logs": ("flow.logs", "Print the logs of a flow's jobs."),
    "cancel": ("flow.cancel", "Cancel flows with all their jobs."),
    "restart": ("flow.restart", "Let a flow go on from the steps that failed."),
    "graph": ("flow.graph", "Draw the flows of this project, as Mermaid."),
}


@click.group("flow", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Start flows and look at them. A flow is made of the handlers whose settings say `flow = { … }`."""
