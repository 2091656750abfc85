"""`jobhost.toml` as a whole (design section 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from .bundles import Bundle
from .handlers import HandlerOptions
from .queues import Queue
from .units import Delay, Section, Text
from .urls import checked_url

DEFAULT_URL = "sqlite:///.jobhost/jobhost.db"
DEFAULT_HTTP = "127.0.0.1:9091"


def _address(value: str) -> str:
    _, colon, port = value.rpartition(":")
    if value != "off" and not (colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError(f'{value!r} is not an address: write "HOST:PORT" or "off"')
    return value


class Document(Section):
    """The keys of the file. `shutdown_timeout` in milliseconds."""

    queue_url: Annotated[str, AfterValidator(checked_url)] = DEFAULT_URL
    prefix: Text = "bull"
    http: Annotated[str, AfterValidator(_address)] = DEFAULT_HTTP
    shutdown_timeout: Delay = 15_000
    bundles: list[Bundle] = Field(default_factory=list)
    queues: dict[str, Queue] = Field(default_factory=dict)
    handlers: dict[str, HandlerOptions] = Field(default_factory=dict)
    defaults: Queue = Queue()
    routes: list[dict[str, Any]] = Field(default_factory=list)
    uid_range: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None


class Config(Document):
    """A document and where it came from. `source`: its file, None without one; `base_dir`: what its paths are relative to."""

    source: Annotated[Path, Field(strict=False)] | None = None
    base_dir: Annotated[Path, Field(strict=False)] = Field(default_factory=Path.cwd)
