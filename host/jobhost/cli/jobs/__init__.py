"""`jobhost jobs`: verbs for single jobs."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "list": ("jobs.list", "List jobs, the newest first."),
    "show": ("jobs.show", "Show all of one job: times, error, last log lines."),
    "logs": ("jobs.logs", "Print the log of a job."),
    "retry": ("jobs.retry", "Let finished jobs run again."),
    "cancel": ("jobs.cancel", "Cancel jobs, running ones too."),
    "promote": ("jobs.promote", "Let delayed jobs run now."),
    "remove": ("jobs.remove", "Delete jobs with their logs."),
}


@click.group("jobs", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Look at jobs and steer them. An id is unique in its queue: name the queue with -q where it is not `default`."""
