"""The file: its tables, its indexes, and how a connection to it is opened.

Each thing that is asked often has a partial index that holds only the jobs in question, so that a million jobs in one
state cost those who look for another state nothing. `queues` carries the number of jobs in each state: nobody counts.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from jobhost.errors import BackendUnavailableError

APPLICATION_ID = 0x6A6F6268  # "jobh"
SCHEMA_VERSION = 4
SQLITE_FLOOR = (3, 35)
"""RETURNING came with it."""

CACHE_KIB = 64 * 1024
"""Page cache of the writer: holds the indexes of about a million jobs."""

CHECKPOINT_PAGES = 4_000
"""Pages in the WAL before they are written back: at SQLite's own 1,000 a busy host does so twenty times a second (measured: a
tenth of the throughput). The WAL stays near 16 MiB."""

_TABLES = """
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    prioritized INTEGER NOT NULL,
    delayed INTEGER NOT NULL,
    active INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    waiting_children INTEGER NOT NULL
) WITHOUT ROWID;

-- state: 0 waiting, 1 prioritized, 2 delayed, 3 active, 4 completed, 5 failed, 6 waiting-children.
-- seq: order of adding. rank: order among the waiting of one priority: seq, or -seq if added in front.
-- since: when it got into its state. What may be long stands last: a row is read from its start.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    name TEXT NOT NULL,
    token TEXT,
    lease_until INTEGER,
    created_at INTEGER NOT NULL,
    since INTEGER NOT NULL,
    attempts_made INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER,
    timeout_ms INTEGER,
    delay_until INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    stalled INTEGER NOT NULL DEFAULT 0,
    child_deaths INTEGER NOT NULL DEFAULT 0,
    postponed INTEGER NOT NULL DEFAULT 0,
    released INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    host TEXT,
    flow_id TEXT,
    flow_name TEXT,
    backoff BLOB,
    metadata BLOB,
    progress BLOB,
    receipt BLOB,
    error BLOB,
    result BLOB,
    data BLOB,
    UNIQUE (queue, id)
);
-- The state stands in these two so that a walk along them needs no look at the rows.
CREATE INDEX jobs_ready ON jobs (queue, priority, rank, name, state) WHERE state <= 1;
CREATE INDEX jobs_ready_by_name ON jobs (queue, name, priority, rank, state) WHERE state <= 1;
CREATE INDEX jobs_delayed ON jobs (queue, delay_until) WHERE state = 2;
CREATE INDEX jobs_finished ON jobs (queue, state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_listed ON jobs (queue, state, seq);

-- Data that would spill over several pages: a job changes its state without rewriting it.
CREATE TABLE payloads (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);

CREATE TABLE logs (
    job INTEGER NOT NULL,
    n INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    fields BLOB,
    attempt INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (job, n)
) WITHOUT ROWID;

CREATE TABLE state (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    expires_at INTEGER,
    UNIQUE (scope, key)
);
CREATE INDEX state_expiring ON state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE hosts (id TEXT PRIMARY KEY, started_at INTEGER NOT NULL, heartbeat_at INTEGER NOT NULL, info BLOB NOT NULL);
CREATE TABLE handlers (name TEXT PRIMARY KEY, queue TEXT NOT NULL, info BLOB NOT NULL);
"""

_WINDOWS = (
    "CREATE TABLE windows (queue TEXT PRIMARY KEY, ends_at INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID"
)
"""Of rate limits; since version 2."""

_FLOWS = """
-- status: 0 running, 1 completed, 2 failed, 3 cancelled. events: the number of the last one.
CREATE TABLE flows (
    id TEXT PRIMARY KEY,
    name TEXT,
    status INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    parent TEXT,
    events INTEGER NOT NULL,
    data BLOB,
    error BLOB
) WITHOUT ROWID;
CREATE INDEX flows_listed ON flows (started_at, id);
CREATE INDEX flows_running ON flows (id) WHERE status = 0;
CREATE INDEX flows_ended ON flows (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX flows_under ON flows (parent, status) WHERE parent IS NOT NULL;
-- Finished jobs have a time in it: whether any other is left is one look.
CREATE INDEX jobs_in_flow ON jobs (flow_id, finished_at, seq) WHERE flow_id IS NOT NULL;

CREATE TABLE flow_events (
    flow TEXT NOT NULL,
    n INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    type TEXT NOT NULL,
    step TEXT,
    attempt INTEGER NOT NULL,
    queue TEXT,
    job TEXT,
    data BLOB,
    PRIMARY KEY (flow, n)
) WITHOUT ROWID;

CREATE TABLE flow_joins (
    flow TEXT NOT NULL,
    handler TEXT NOT NULL,
    key TEXT NOT NULL,
    trigger TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (flow, handler, key, trigger)
) WITHOUT ROWID;

CREATE TABLE flow_failures (
    flow TEXT NOT NULL,
    queue TEXT NOT NULL,
    job TEXT NOT NULL,
    PRIMARY KEY (flow, queue, job)
) WITHOUT ROWID;

-- What jobs have emitted, as long as they are there.
CREATE TABLE emitted (queue TEXT NOT NULL, job TEXT NOT NULL, emit TEXT NOT NULL, PRIMARY KEY (queue, job, emit)) WITHOUT ROWID;

-- joins: the triggers that the handler waits for together, as a JSON array; NULL where each gives a job.
CREATE TABLE subscriptions (
    trigger TEXT NOT NULL,
    handler TEXT NOT NULL,
    queue TEXT NOT NULL,
    joins TEXT,
    PRIMARY KEY (trigger, handler)
) WITHOUT ROWID;
CREATE INDEX subscriptions_of ON subscriptions (handler);

CREATE TABLE schedules (id TEXT PRIMARY KEY, due INTEGER, info BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (due) WHERE due IS NOT NULL
"""
"""Since version 3."""

_KEYS = """
-- key: by which jobs of one handler take turns; empty where it has none.
ALTER TABLE jobs ADD COLUMN key TEXT NOT NULL DEFAULT '';
DROP INDEX jobs_ready_by_name;
CREATE INDEX jobs_ready_by_name ON jobs (queue, name, key, priority, rank, state) WHERE state <= 1;
-- paths: where the key of a handler's jobs is, as JSON.
CREATE TABLE keys (handler TEXT PRIMARY KEY, paths TEXT NOT NULL) WITHOUT ROWID
"""
"""Since version 4. `windows` has those of handlers and keys too: see fair_claims.py."""

_STEPS = (_TABLES.split(";\n"), [_WINDOWS], _FLOWS.split(";\n"), _KEYS.split(";\n"))
"""The statements that make each version out of the one before."""


def connect_writer(path: Path, busy_ms: int) -> sqlite3.Connection:
    """Open the file for writing and create or check what is in it. Raises sqlite3.Error or BackendUnavailableError."""
    if sqlite3.sqlite_version_info < SQLITE_FLOOR:
        raise BackendUnavailableError(f"SQLite {sqlite3.sqlite_version} is too old: jobhost needs 3.35 or newer")
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path, busy_ms)
    try:
        _prepare(connection, path)
        connection.execute("PRAGMA busy_timeout = 0")  # from here on the writer waits itself, more evenly than SQLite
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, busy_ms: int) -> sqlite3.Connection:
    """Open the file for looking only."""
    connection = _connect(path, busy_ms)
    # Not mode=ro: a reader of a WAL file has to be able to create the shared memory beside it.
    connection.execute("PRAGMA query_only = 1")
    return connection


def _connect(path: Path, busy_ms: int) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=busy_ms / 1000, isolation_level=None, cached_statements=256)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit that was acknowledged survives a power cut
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    if _version(connection, path) < SCHEMA_VERSION:
        _bring_up(connection, path)


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables, or those that a later version has added."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        there = _version(connection, path)
        if there < SCHEMA_VERSION:  # another process may have been first
            for step in _STEPS[there:]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Which version of our tables is there; 0 for none. Raises BackendUnavailableError if they are somebody else's."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        raise BackendUnavailableError(
            f"{path} was written by a newer jobhost (schema {version}, this one knows {SCHEMA_VERSION}): upgrade this one"
        )
    if application != APPLICATION_ID and tables:
        raise BackendUnavailableError(f"{path} is the database of another program: give queue_url a file of its own")
    return int(version) if tables else 0
