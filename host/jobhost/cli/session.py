"""What verbs share: the options that name a store, its client, and the event loop they run in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobhost.errors import PayloadError

if TYPE_CHECKING:
    from jobhost.client import Client
    from jobhost.config.load import Loaded

Result = TypeVar("Result")
Verb = Callable[..., Any]


@dataclass(slots=True, frozen=True)
class Store:
    """What `--config` and `--queue-url` say; None where they say nothing."""

    config: Path | None
    queue_url: str | None

    def load(self, **flags: Any) -> Loaded:
        """Read the configuration. Raises InvalidConfigurationError."""
        from jobhost.config.load import Flags, load

        return load(Flags(config=self.config, queue_url=self.queue_url, **flags))


def store_options(verb: Verb) -> Verb:
    """Give a verb `--config` and `--queue-url`, together as its argument `store`."""

    @click.option(
        "-c", "--config", type=click.Path(path_type=Path), help="The configuration; default: the nearest jobhost.toml."
    )
    @click.option("--queue-url", metavar="URL", help="The store of the queues, such as sqlite:///FILE.")
    @wraps(verb)
    def with_store(config: Path | None, queue_url: str | None, **arguments: Any) -> Any:
        return verb(store=Store(config, queue_url), **arguments)

    return with_store


def json_option(verb: Verb) -> Verb:
    """Give a verb `--json`, as its argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, in the documented form.")(verb)


def queue_option(verb: Verb) -> Verb:
    """Give a verb that takes job ids the queue they are of."""
    return click.option("-q", "--queue", default="default", show_default=True, help="The queue of the job.")(verb)


def with_client(store: Store, work: Callable[[Client], Awaitable[Result]]) -> Result:
    """Run `work` with a client of the store. A wrong option of a job is a usage error."""
    from jobhost.client import Client

    config = store.load().config
    if config.queue_url.startswith("memory:"):
        text = "memory:// keeps its jobs inside the process of `serve` or `run`, where this command can't reach them"
        raise click.UsageError(text)

    async def connected() -> Result:
        async with Client(config=config) as jobs:
            return await work(jobs)

    try:
        return asyncio.run(connected())
    except (PayloadError, ValueError) as error:
        raise click.UsageError(str(error)) from error
