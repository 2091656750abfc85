"""`jobhost`: which verbs there are, and what an error becomes.

Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 the job or check failed, 2 usage, 69 backend
unreachable, 78 configuration, 130 interrupted, 141 the reader of our output went away.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from jobhost import __version__

from .lazy import LazyGroup, examples

FAILED, USAGE, UNAVAILABLE, CONFIGURATION, INTERRUPTED, NO_READER = 1, 2, 69, 78, 130, 141

VERBS = {
    "init": ("init", "Write a small project to start from."),
    "serve": ("serve", "Serve queues: take jobs and run their handlers."),
    "doctor": ("doctor", "Print what each level of isolation keeps on this machine."),
    "check": ("check", "Print everything that is wrong with configuration and handlers."),
    "handlers": ("handlers", "List the handlers of this project."),
    "run": ("run", "Run a handler once, without a queue."),
    "enqueue": ("enqueue", "Add a job to a queue."),
    "jobs": ("jobs", "Look at jobs; retry, cancel, promote, remove them."),
    "queues": ("queues", "Look at queues; pause, resume, drain, clean, remove them."),
    "dead": ("dead", "Jobs that failed for good: look at them, mend and replay them."),
    "breakers": ("breakers", "Circuit breakers: list them, open or close one by hand."),
    "flow": ("flow", "Start flows and look at them; cancel and restart them."),
    "schedules": ("schedules", "Jobs by the clock: list, add, remove, pause, run now."),
    "state": ("state", "Read, set and compare what handlers keep."),
    "hosts": ("hosts", "List the hosts that serve queues."),
    "completion": ("completion", "Print the script that completes words in your shell."),
}


class Root(LazyGroup):
    """The whole command. Its `main` turns exceptions into one message and an exit code, for tests as for users."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, a user gets one message and not a traceback
            code = _told(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Output that nobody reads ends it here, before click makes the exit code of a failed job of it."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_output()
            raise click.exceptions.Exit(NO_READER) from None
        return result


def _told(error: Exception) -> int:
    """Print an error; give its exit code."""
    if _debug(error):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, click.Abort):
        return INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else FAILED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    text, code = _text_and_code(error)
    click.echo(text, err=True)
    return code


def _text_and_code(error: Exception) -> tuple[str, int]:
    from jobhost.errors import BackendUnavailableError, ConfigurationError, JobhostError
    from jobhost.logs import printable

    if isinstance(error, ConfigurationError):
        return printable(str(error)), CONFIGURATION
    if isinstance(error, BackendUnavailableError):
        return printable(f"error: {error}"), UNAVAILABLE
    if isinstance(error, JobhostError):
        return printable(f"error: {error}"), FAILED
    return printable(f"error: {type(error).__name__}: {error} (a defect of jobhost: --debug shows where)"), FAILED


def _debug(error: Exception) -> bool:
    """Whether to show where an error comes from; the user's own slips have no cause worth showing."""
    if isinstance(error, (click.ClickException, click.Abort)) and error.__cause__ is None:
        return False
    return "--debug" in sys.argv or os.environ.get("JOBHOST_DEBUG", "") not in ("", "0")


def _forget_output() -> None:
    """Let the interpreter flush what nobody reads into nothing."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # not a real stream: nothing will be flushed
        pass


@click.group(
    cls=Root,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "jobhost init demo && cd demo",
        "jobhost serve",
        'jobhost enqueue hello --data \'{"name": "you"}\' --wait',
        "jobhost jobs list --state failed",
    )
    + "\n\nExit codes: 0 ok, 1 the job or check failed, 2 usage, 69 backend unreachable, 78 configuration.",
)
@click.version_option(__version__, prog_name="jobhost")
@click.option("--debug", is_flag=True, help="Show the traceback of an error (or JOBHOST_DEBUG=1).")
def cli(debug: bool) -> None:
    """Take jobs from queues and run handlers written in Python or Node, each as isolated as you say."""
    del debug  # read from the arguments where an error is shown, since it must hold for errors of parsing too
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Lone surrogates in what a child said must not stop a listing.
            stream.reconfigure(errors="backslashreplace")


def main() -> NoReturn:
    """The entry point of the `jobhost` command."""
    cli(prog_name="jobhost")
    raise AssertionError("the command exits")
