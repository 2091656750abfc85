"""The tables and indexes, and how they come into a database.

Each thing that is asked often has a partial index that holds only the jobs in question, so that a million jobs in one state cost those
who look for another state nothing. `counts` carries the number of jobs in each state: nobody counts. A queue has several rows there,
one for each of the hosts that changed it, so that hosts do not wait for each other's commits; what a queue has is the sum.

A queue's job numbers come from a sequence of its own, which nobody has to wait for either.
"""

from __future__ import annotations

from hashlib import blake2b

import psycopg
from psycopg import sql

from jobhost.errors import BackendUnavailableError

from .address import Address

SCHEMA_VERSION = 1
SERVER_FLOOR = 130000
"""pg_current_xact_id and pg_xact_status came with it."""

SHARDS = 256
"""Rows of `counts` a queue may have. Two hosts that share one wait for each other's commits, no more."""

_TABLES = """
CREATE TABLE versions (version integer NOT NULL);

-- Only queues about which there is something to say.
CREATE TABLE queues (name text COLLATE "C" PRIMARY KEY, paused boolean NOT NULL);

-- shard: below 0 of one transaction of a producer's own; housekeeping sums these up.
CREATE TABLE counts (
    queue text COLLATE "C" NOT NULL,
    shard bigint NOT NULL,
    waiting bigint NOT NULL,
    prioritized bigint NOT NULL,
    delayed bigint NOT NULL,
    active bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    waiting_children bigint NOT NULL,
    PRIMARY KEY (queue, shard)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0.5);

CREATE SEQUENCE job_seq;

-- state: 0 waiting, 1 prioritized, 2 delayed, 3 active, 4 completed, 5 failed, 6 waiting-children.
-- seq: order of adding. rank: order among the waiting of one priority: seq, or -seq if added in front.
-- since: when it got into its state. Times are Unix milliseconds. Numbers first: they need no padding then.
CREATE TABLE jobs (
    seq bigint PRIMARY KEY,
    rank bigint NOT NULL,
    lease_until bigint,
    created_at bigint NOT NULL,
    since bigint NOT NULL,
    delay_until bigint,
    started_at bigint,
    finished_at bigint,
    timeout_ms bigint,
    max_attempts bigint,
    priority integer NOT NULL,
    attempts_made integer NOT NULL DEFAULT 0,
    stalled integer NOT NULL DEFAULT 0,
    child_deaths integer NOT NULL DEFAULT 0,
    postponed integer NOT NULL DEFAULT 0,
    released integer NOT NULL DEFAULT 0,
    state smallint NOT NULL,
    cancel_requested boolean NOT NULL DEFAULT false,
    queue text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    token text COLLATE "C",
    host text COLLATE "C",
    flow_id text COLLATE "C",
    flow_name text COLLATE "C",
    backoff bytea,
    metadata bytea,
    progress bytea,
    receipt bytea,
    error bytea,
    result bytea,
    data bytea NOT NULL,
    key text COLLATE "C" NOT NULL DEFAULT ''  -- by which jobs of one handler take turns; empty where it has none
) WITH (
    fillfactor = 80,  -- a renewed lease finds room beside its row, and no index hears of it
    autovacuum_vacuum_scale_factor = 0.02,  -- each job is written three times: what is left of it shall not pile up
    autovacuum_vacuum_cost_delay = 0
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (queue, id);
CREATE INDEX jobs_ready ON jobs (queue, priority, rank) WHERE state <= 1;
CREATE INDEX jobs_ready_by_name ON jobs (queue, name, key, priority, rank) WHERE state <= 1;
CREATE INDEX jobs_delayed ON jobs (queue, delay_until) WHERE state = 2;
CREATE INDEX jobs_finished ON jobs (queue, state, finished_at, seq) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_listed ON jobs (queue, state, seq);
-- Finished jobs have a time in it: whether any other is left is one look.
CREATE INDEX jobs_in_flow ON jobs (flow_id, finished_at, seq) WHERE flow_id IS NOT NULL;

CREATE TABLE logs (
    job bigint NOT NULL,
    n bigint NOT NULL,
    ts bigint NOT NULL,
    attempt integer NOT NULL,
    level text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    fields bytea,
    PRIMARY KEY (job, n)
);

-- paths: where the key of a handler's jobs is, as JSON.
CREATE TABLE keys (handler text COLLATE "C" PRIMARY KEY, paths text NOT NULL);

-- Of rate limits: of queues, and as fair_claims.py names them of handlers and keys.
CREATE TABLE windows (queue text COLLATE "C" PRIMARY KEY, ends_at bigint NOT NULL, used bigint NOT NULL) WITH (fillfactor = 50);

CREATE TABLE state (
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    expires_at bigint,
    value bytea NOT NULL,
    PRIMARY KEY (scope, key)
) WITH (fillfactor = 80);
CREATE INDEX state_expiring ON state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE hosts (id text COLLATE "C" PRIMARY KEY, started_at bigint NOT NULL, heartbeat_at bigint NOT NULL, info bytea NOT NULL);
CREATE TABLE handlers (name text COLLATE "C" PRIMARY KEY, queue text COLLATE "C" NOT NULL, info bytea NOT NULL);

-- status: 0 running, 1 completed, 2 failed, 3 cancelled. events: the number of the last one.
CREATE TABLE flows (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C",
    status smallint NOT NULL,
    started_at bigint NOT NULL,
    finished_at bigint,
    parent text COLLATE "C",
    events bigint NOT NULL,
    data bytea,
    error bytea
) WITH (fillfactor = 70);
CREATE INDEX flows_listed ON flows (started_at, id);
CREATE INDEX flows_running ON flows (id) WHERE status = 0;
CREATE INDEX flows_ended ON flows (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX flows_under ON flows (parent, status) WHERE parent IS NOT NULL;

CREATE TABLE flow_events (
    flow text COLLATE "C" NOT NULL,
    n bigint NOT NULL,
    ts bigint NOT NULL,
    attempt integer NOT NULL,
    type text COLLATE "C" NOT NULL,
    step text COLLATE "C",
    queue text COLLATE "C",
    job text COLLATE "C",
    data bytea,
    PRIMARY KEY (flow, n)
);

CREATE TABLE flow_joins (
    flow text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    trigger text COLLATE "C" NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (flow, handler, key, trigger)
);

CREATE TABLE flow_failures (
    flow text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    job text COLLATE "C" NOT NULL,
    PRIMARY KEY (flow, queue, job)
);

-- What jobs have emitted, as long as they are there.
CREATE TABLE emitted (
    queue text COLLATE "C" NOT NULL,
    job text COLLATE "C" NOT NULL,
    emit text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, job, emit)
);

-- joins: the triggers that the handler waits for together, as a JSON array; NULL where each gives a job.
CREATE TABLE subscriptions (
    trigger text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    joins text,
    PRIMARY KEY (trigger, handler)
);
CREATE INDEX subscriptions_of ON subscriptions (handler);

CREATE TABLE schedules (id text COLLATE "C" PRIMARY KEY, due bigint, info bytea NOT NULL) WITH (fillfactor = 70);
CREATE INDEX schedules_due ON schedules (due) WHERE due IS NOT NULL;
"""

_STEPS = (_TABLES,)
"""The statements that make each version out of the one before."""


def prepare(connection: psycopg.Connection, address: Address) -> None:
    """Create or check what is in the schema. Raises psycopg.Error or BackendUnavailableError."""
    _check_server(connection, address)
    there = _version(connection, address)
    if there < SCHEMA_VERSION:
        _bring_up(connection, address)
    elif there > SCHEMA_VERSION:
        raise BackendUnavailableError(
            f"the schema {address.schema} of {address.where} was written by a newer jobhost (version {there}, this one knows"
            f" {SCHEMA_VERSION}): upgrade this one"
        )


def _check_server(connection: psycopg.Connection, address: Address) -> None:
    version = connection.info.server_version
    if version < SERVER_FLOOR:
        text = f"is PostgreSQL {version // 10000}, which is too old: jobhost needs 13 or newer"
        raise BackendUnavailableError(f"the Postgres server {address.where} {text}")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        text = f"keeps its texts as {encoding}: create one with `createdb --encoding UTF8 --template template0`"
        raise BackendUnavailableError(f"the database {address.where} {text}")


def _version(connection: psycopg.Connection, address: Address) -> int:
    """Which version of our tables is there; 0 for none."""
    there = (
        "SELECT to_regclass(%s) IS NOT NULL, EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace(%s))"
    )
    [(ours, anything)] = connection.execute(there, (f"{address.schema}.versions", address.schema)).fetchall()
    if not ours and anything:
        raise BackendUnavailableError(
            f"the schema {address.schema} of {address.where} belongs to another program: name another one, ?schema=NAME"
        )
    [(version,)] = connection.execute("SELECT max(version) FROM versions").fetchall() if ours else [(0,)]
    return int(version or 0)


def _bring_up(connection: psycopg.Connection, address: Address) -> None:
    """Create the tables, or those that a later version has added. Hosts that start at once do so one after the other."""
    # Before the transaction, which would know the catalogue as it was when it began.
    connection.execute("SELECT pg_advisory_lock(%s)", (address.key("schema"),))
    try:
        with connection.transaction():
            _create(connection, address)
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (address.key("schema"),))


def _create(connection: psycopg.Connection, address: Address) -> None:
    exists = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (address.schema,)).fetchone()
    if exists == (False,):  # asked before: creating needs a right that using does not
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(address.schema)))
    there = _version(connection, address)
    for step in _STEPS[there:]:
        connection.execute(step.encode(), prepare=False)
    if there < SCHEMA_VERSION:
        connection.execute("DELETE FROM versions")
        connection.execute("INSERT INTO versions VALUES (%s)", (SCHEMA_VERSION,))


def sequence_of(queue: str) -> str:
    """The name of the sequence that numbers the jobs of a queue."""
    return f"ids_{blake2b(queue.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def make_sequence(connection: psycopg.Connection, queue: str) -> None:
    """Create the sequence of a queue, outside of any transaction: whoever comes second does not wait for the first one's commit."""
    try:
        connection.execute(f"CREATE SEQUENCE IF NOT EXISTS {sequence_of(queue)}".encode())
    except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
        pass  # another host was as quick
