"""The SQLite backend: the seam, as orders to the two desks."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar, cast

from jobhost.errors import BackendUnavailableError, ConfigurationError

from ..admission import Admission
from ..clock import Clock, unix_ms
from ..feed import Feed
from ..job import (
    Event,
    HostInfo,
    Job,
    Json,
    Keep,
    Lease,
    LogLine,
    NewJob,
    PublishedHandler,
    QueueInfo,
    Settlement,
    State,
)
from ..seam import Added, Cancelled, Claimed, Recovered, Renewal
from . import adding, claiming, deleting, looking, settling, state, steering
from .bell import Bell, Kind, events_in, queues_in
from .deleting import CHUNK
from .faults import unavailable
from .reader import Reader
from .rows import CODES, DELAYED, PRIORITIZED, WAITING
from .schema import connect_reader
from .transaction import Transaction
from .writer import Writer

BUSY_MS = 10_000
"""How long an operation waits for another process to let go of the file."""

EVER = 1 << 62
"""A time that no job is younger than."""

T = TypeVar("T")


class SqliteBackend:
    """Jobs in a file. `busy_ms`: how long to wait while another process holds the file."""

    def __init__(self, path: Path | str, clock: Clock = unix_ms, busy_ms: int = BUSY_MS) -> None:
        self._path = Path(path)
        self._clock = clock
        self._busy_ms = busy_ms
        self._feed = Feed()
        self._bell = Bell(self._path)
        self._writer = Writer(self._path, busy_ms, clock, self._feed, self._bell)
        self._reader = Reader(self._path, busy_ms)
        self._listening: dict[Kind, tuple[int, Callable[[], None]]] = {}
        marks = count()
        self._marks = map(lambda prefix, n: f"{prefix}{n:x}", iter(lambda: self._mark_prefix, ""), marks)
        self._mark_prefix = secrets.token_hex(6) + "-"
        self._undoing: set[asyncio.Task[object]] = set()
