"""`jobhost serve`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .lazy import examples
from .project import bundle_option, load_project
from .session import Store, store_options

if TYPE_CHECKING:
    from jobhost.dispatch.host import Host

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@click.command(
    "serve",
    epilog=examples(
        "jobhost serve",
        "jobhost serve -q images -q default",
        "jobhost serve --bundle handlers --queue-url sqlite:///jobs.db",
        "jobhost serve --burst --fail              # in a test or a cron job",
    ),
)
@store_options
@bundle_option
@click.option("-q", "--queue", "queues", multiple=True, help="Serve only this queue (repeatable).")
@click.option("--burst", is_flag=True, help="Exit once nothing is left to do.")
@click.option("--fail", is_flag=True, help="With --burst: exit code 1 if a job failed.")
@click.option("--http", metavar="ADDR|off", help="Not served by this version.")
@click.option(
    "--log-format",
    envvar="JOBHOST_LOG_FORMAT",
    type=click.Choice(["console", "json"]),
    help="Default: console on a terminal, json elsewhere.",
)
@click.option(
    "--log-level",
    envvar="JOBHOST_LOG_LEVEL",
    type=click.Choice(["debug", "info", "warning", "error", "critical"]),
    default="info",
    show_default=True,
)
def command(
    store: Store,
    bundles: tuple[Path, ...],
    queues: tuple[str, ...],
    burst: bool,
    fail: bool,
    http: str | None,
    log_format: str | None,
    log_level: str,
) -> None:
    """Take jobs from queues and run their handlers, until SIGTERM or SIGINT: running jobs may end, a second signal stops now."""
    if fail and not burst:
        raise click.UsageError("--fail goes with --burst: a host that serves on has no end to judge")

    from jobhost.logs import set_up

    log = set_up(log_format, log_level)
    config = load_project(store, bundles, http, lambda text: log.warning("config.warning", text=text))

    from jobhost_runtimes.strays import adopt_orphans, close_memory

    from jobhost.dispatch import collector
    from jobhost.dispatch.host import Host

    close_memory()
    if all(bundle.isolation != "none" for bundle in config.bundles) and not config.hooks:
        adopt_orphans()  # a handler or a hook in this process may start what it likes
    host = Host(config, queues=queues or None, burst=burst, log=log)
    collector.calm()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(host, log))
    if fail and host.failed:
        raise click.exceptions.Exit(1)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(host: Host, log: Any) -> None:
    """Serve until the host has stopped: by itself, or because a signal asked for it."""
    stops: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()

    def stop(signum: int) -> None:
        log.info("host.signal", signal=signal.Signals(signum).name, now=bool(stops))
        stops.append(loop.create_task(host.stop(now=bool(stops))))

    for signum in _STOPPING:
        loop.add_signal_handler(signum, stop, signum)
    loop.add_signal_handler(
        signal.SIGHUP, lambda: log.warning("host.reload", hint="not served by this version: restart")
    )
    try:
        await host.start()
        await host.wait()
    finally:
        await host.stop(now=bool(stops))
        await asyncio.gather(*stops)
