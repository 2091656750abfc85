"""`jobhost breakers`: verbs for circuit breakers of handlers."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "list": ("breakers.list", "List breakers, with why they are open."),
    "open": ("breakers.open", "Let nothing run behind a breaker for a while."),
    "close": ("breakers.close", "Close breakers, and forget what they counted."),
}


@click.group("breakers", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Look at circuit breakers: where runs fail one after the other, jobs wait. Hosts share them and know within a second."""
