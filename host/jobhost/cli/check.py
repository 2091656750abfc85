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
    from jobhost.backlog import Backlog
    from jobhost.catalogue import Catalogue
    from jobhost.config.document import Config


@click.command(
    "check", epilog=examples("jobhost check", "jobhost check --json", "jobhost check --backlog --limit 10000")
)
@store_options
@bundle_option
@click.option("--backlog", is_flag=True, help="Also count the jobs that wait and that the schemas of now would refuse.")
@click.option("--limit", type=click.IntRange(min=1), help="With --backlog: look at so many jobs, the newest first.")
@json_option
def command(store: Store, bundles: tuple[Path, ...], backlog: bool, limit: int | None, as_json: bool) -> None:
    """Print everything that is wrong, once, with file, line and key: the configuration, the handlers of every bundle, and their flows.

    With --backlog the data of jobs that wait, in all queues, is put to the schemas of their handlers; no job is run or changed.

    Exit code 78 if the configuration is wrong, 1 if a handler is, or a job would be refused.
    """
    if limit is not None and not backlog:
        raise click.UsageError("--limit goes with --backlog")
    from jobhost.errors import ConfigurationError
    from jobhost.hooks import configured_hooks

    report = _Report()
    try:
        config = _config(store, bundles, report)
        configured_hooks(config)
        if backlog and config.queue_url.startswith("memory:"):
            raise click.UsageError(
                "memory:// keeps its jobs inside the process of `serve`, where this command can't reach them"
            )
        catalogue, report.backlog = asyncio.run(_look(config, backlog, limit))
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


async def _look(config: Config, backlog: bool, limit: int | None) -> tuple[Catalogue, Backlog | None]:
    from jobhost.probe import collect

    from .backlog import look
    from .handlers import told_by_hosts

    published, _ = await told_by_hosts(config)
    if backlog:
        return await look(config, limit, published)
    return await collect(config, published), None


def _mistakes(error: Exception) -> list[str]:
    return str(error).splitlines()


class _Report:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.wrong: list[str] = []
        self.problems: list[str] = []
        self.backlog: Backlog | None = None
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
        refused = self.backlog is not None and not self.backlog.ok
        return 78 if self.wrong else 1 if self.problems or refused else 0

    def show(self, as_json: bool) -> None:
        from jobhost.logs import printable

        from .backlog import show

        if as_json:
            print_json(self._listing())
            return
        for warning in self.warnings:
            click.echo(printable(f"warning: {warning}"), err=True)
        for line in (*self.wrong, *self.problems):
            click.echo(printable(line))
        if self.backlog is not None:
            show(self.backlog)
        if not self.exit_code():
            click.echo(f"ok: {self.handlers} handlers in {self.bundles} bundles")

    def _listing(self) -> dict[str, Any]:
        told = {
            "ok": not self.exit_code(),
            "configuration": self.wrong,
            "handlers": self.problems,
            "warnings": self.warnings,
        }
        return told if self.backlog is None else {**told, "backlog": self.backlog.listing()}
