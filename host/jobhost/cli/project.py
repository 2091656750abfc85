"""The configuration of verbs that need the project's handlers, not only its store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .session import Store, Verb

if TYPE_CHECKING:
    from jobhost.config.document import Config


def bundle_option(verb: Verb) -> Verb:
    """Give a verb `--bundle`, as its argument `bundles`."""
    text = "Only the handlers of this folder (repeatable)."
    path = click.Path(exists=True, path_type=Path)
    return click.option("-b", "--bundle", "bundles", multiple=True, type=path, metavar="DIR", help=text)(verb)


def load_project(
    store: Store, bundles: Sequence[Path], http: str | None = None, warn: Callable[[str], None] | None = None
) -> Config:
    """Read the configuration, and say what in it is not served: by `warn`, or on stderr.

    Raises InvalidConfigurationError, also where there is nothing to serve or a bundle's folder is missing.
    """
    from jobhost.config.load import served_bundles

    loaded = store.load(bundles=bundles, http=http)
    for warning in loaded.warnings:
        (warn or _print_warning)(str(warning))
    return served_bundles(loaded.config)


def _print_warning(text: str) -> None:
    click.echo(f"warning: {text}", err=True)
