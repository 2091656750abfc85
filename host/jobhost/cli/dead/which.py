"""Options that say which letters are meant."""

from __future__ import annotations

from functools import wraps
from typing import Any

import click
from jobhost_sdk.durations import milliseconds

from jobhost.cli.session import Verb
from jobhost.dead_letters import Which


def letters_queue(verb: Verb) -> Verb:
    """Give a verb `-q`: one queue of dead letters, by default all that are known."""
    text = "Only this queue of dead letters; default: those of the configuration and of the hosts that are alive."
    return click.option("-q", "--queue", help=text)(verb)


def which_options(verb: Verb) -> Verb:
    """Give a verb the filters of letters, together as its argument `which`."""

    @click.option("--from", "origin", metavar="QUEUE", help="Only letters of this queue's jobs.")
    @click.option("--name", help="Only letters of jobs of this name.")
    @click.option("--error", metavar="CLASS", help="Only letters of jobs that failed with this class of error.")
    @click.option("--older-than", metavar="DURATION", help="Only jobs that failed so long ago: 12h, 7d.")
    @click.option("--newer-than", metavar="DURATION", help="Only jobs that failed since: 30m, 1d.")
    @wraps(verb)
    def with_which(
        origin: str | None,
        name: str | None,
        error: str | None,
        older_than: str | None,
        newer_than: str | None,
        **arguments: Any,
    ) -> Any:
        which = Which(origin, name, error, _ms("--older-than", older_than), _ms("--newer-than", newer_than))
        return verb(which=which, **arguments)

    return with_which


def _ms(option: str, written: str | None) -> int | None:
    try:
        return None if written is None else milliseconds(written)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def check_meant(ids: tuple[str, ...], which: Which, all_letters: bool) -> None:
    """What changes letters has to be told which: by id, by what they have in common, or all."""
    if bool(ids) == (all_letters or which != Which()):
        raise click.UsageError(
            "say which letters: ids, or --from, --name, --error, --older-than, --newer-than, or --all"
        )
