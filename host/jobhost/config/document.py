"""`jobhost.toml` as a whole (design section 4)."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from . import units
from .alerts import Alert
from .breakers import Breaker
from .bundles import Bundle
from .flows import Flows, State
from .handlers import HandlerOptions
from .queues import Queue
from .routes import Route
from .schedules import ScheduleTable
from .schema import ListOf, NamedTables, Table, key, table
from .urls import checked_url

DEFAULT_URL = "sqlite:///.jobhost/jobhost.db"
DEFAULT_HTTP = "127.0.0.1:9091"


def _address(value: object) -> str:
    _, colon, port = units.name(value).rpartition(":")
    if value != "off" and not (colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError(f'{value!r} is not an address: write "HOST:PORT" or "off"')
    return units.name(value)


def _uid_range(value: object) -> list[int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"should be [FIRST, LAST], not {units.shown(value)}")
    return [units.whole(1)(uid) for uid in value]


def _hook(value: object) -> str:
    module, colon, attribute = units.name(value).partition(":")
    if not colon or not all(part.isidentifier() for part in f"{module}.{attribute}".split(".")):
        raise ValueError(f'{value!r} is no import path: write "package.module:NAME"')
    return units.name(value)


@table
class Document(Table):
    """The keys of the file. `shutdown_timeout` in milliseconds."""

    queue_url: str = key(checked_url, default=DEFAULT_URL)
    prefix: str = key(units.name, default="bull")
    http: str = key(_address, default=DEFAULT_HTTP)
    shutdown_timeout: int = key(units.delay, default=15_000)
    bundles: list[Bundle] = key(ListOf(Bundle), factory=list)
    queues: dict[str, Queue] = key(NamedTables(Queue), factory=dict)
    handlers: dict[str, HandlerOptions] = key(NamedTables(HandlerOptions), factory=dict)
    defaults: Queue = key(Queue, factory=Queue)
    schedules: dict[str, ScheduleTable] = key(NamedTables(ScheduleTable), factory=dict)
    flows: Flows = key(Flows, factory=Flows)
    state: State = key(State, factory=State)
    breakers: dict[str, Breaker] = key(NamedTables(Breaker), factory=dict)
    alerts: list[Alert] = key(ListOf(Alert), factory=list)
    hooks: list[str] = key(ListOf(_hook), factory=list)
    routes: list[Route] = key(ListOf(Route), factory=list)
    uid_range: list[int] | None = key(_uid_range, default=None)


@table
class Config(Document):
    """A document and where it came from. `source`: its file, None without one; `base_dir`: what its paths are relative to."""

    source: Path | None = None
    base_dir: Path = field(default_factory=Path.cwd)
