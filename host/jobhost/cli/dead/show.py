"""`jobhost dead show`."""

from __future__ import annotations

import click

from jobhost.cli.dead.which import letters_queue
from jobhost.cli.jobs.show import error_lines, fact_line
from jobhost.cli.lazy import examples
from jobhost.cli.output import line_of, print_json, when
from jobhost.cli.session import Store, json_option, store_options, with_client


@click.command("show", epilog=examples("jobhost dead show 7", "jobhost dead show 7 -q orders.dead --json"))
@click.argument("id")
@store_options
@letters_queue
@json_option
def command(store: Store, id: str, queue: str | None, as_json: bool) -> None:
    """Show all of one dead letter: the job it is a copy of, its data, its error with stack and dossier."""
    letter = with_client(store, lambda jobs: jobs.dead.get(id, queue))
    if as_json:
        print_json(letter)
        return
    origin = letter["origin"]
    click.echo(f"dead letter {line_of(letter['id'])} of queue {line_of(letter['queue'])}")
    facts = {
        "name": letter["name"],
        "job": f"{origin['id']} of queue {origin['queue']}",
        "added": when(origin["created_at"]),
        "failed": when(letter["failed_at"]),
        "attempts": letter["attempts_made"],
        "replayed": f"{letter['replayed']} times before" if letter["replayed"] else None,
        "flow": letter["flow_id"],
        "metadata": letter["metadata"] or None,
    }
    for label, fact in facts.items():
        if fact is not None:
            click.echo(fact_line(label, fact))
    click.echo(fact_line("data", letter["data"]))
    for line in error_lines(letter["error"]):
        click.echo(line)
