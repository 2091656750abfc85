"""`jobhost check`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .lazy import examples
from .output import print_json
from .project import bundle_option
from .session import Store, json_option, store_options

if TYPE_CHECKING:
    from jobhost.catalogue import Catalogue
    from jobhost.config.document import Config


@click.command("check", epilog=examples("jobhost check", "jobhost check --json"))
@store_options
@bundle_option
@json_option
def command(store: Store, bundles: tuple[Path, ...], as_json: bool) -> None:
    """Print everything that is wrong, once, with file, line and key: the configuration, the handlers of every bundle, and their flows.

    Exit code 78 if the configuration is wrong, 1 if a handler is.
    """
    from jobhost.errors import ConfigurationError
    from jobhost.hooks import configured_hooks

    report = _Report()
    try:
        config = _config(store, bundles, report)
        configured_hooks(config)
        catalogue = asyncio.run(_catalogue(config))
    except ConfigurationError as error:
        report.wrong += _mistakes(error)
    else:
        report.take(catalogue, config.flows.external)
    report.show(as_json)
    if code := report.exit_code():
        raise click.exceptions.Exit(code)


def _config(store: Store, bundles: Sequence[Path], report: _Report) -> Config:
    from jobhost.config.load import served_bundles

    loaded = store.load(bundles=bundles)
    report.warnings += map(str, loaded.warnings)
    return served_bundles(loaded.config)


async def _catalogue(config: Config) -> Catalogue:
    from jobhost.probe import collect

    from .handlers import told_by_hosts

    published, _ = await told_by_hosts(config)
    return await collect(config, published)


def _mistakes(error: Exception) -> list[str]:
    return str(error).splitlines()


class _Report:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.wrong: list[str] = []
        self.problems: list[str] = []
        self.handlers = 0
        self.bundles = 0

    def take(self, catalogue: Catalogue, external: Sequence[str]) -> None:
        """Two handlers of one name are a mistake of the configuration: it is what brings them together."""
        from jobhost.flow_graph import graph_of

        self.wrong += map(str, catalogue.conflicts)
        self.problems += map(str, catalogue.problems)
        graph = graph_of(catalogue.entries, external)
        self.problems += graph.wrong
        self.warnings += graph.noted
        self.handlers = len(catalogue.entries)
        self.bundles = len({entry.bundle for entry in catalogue.entries})

    def exit_code(self) -> int:
        return 78 if self.wrong else 1 if self.problems else 0

    def show(self, as_json: bool) -> None:
        from jobhost.logs import printable

        if as_json:
            print_json(self._listing())
            return
        for warning in self.warnings:
            click.echo(printable(f"warning: {warning}"), err=True)
        for line in (*self.wrong, *self.problems):
            click.echo(printable(line))
        if not self.exit_code():
            click.echo(f"ok: {self.handlers} handlers in {self.bundles} bundles")

    def _listing(self) -> dict[str, Any]:
        return {
            "ok": not self.exit_code(),
            "configuration": self.wrong,
            "handlers": self.problems,
            "warnings": self.warnings,
        }
