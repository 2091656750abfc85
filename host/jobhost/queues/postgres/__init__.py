"""Queues in a PostgreSQL database: durable, for hosts on any number of machines, with jobs added in a producer's own transaction.

`backend` is the seam; `writer` and `reader` the threads behind it, each over a `link` that reconnects; `transaction` what the operations
of one commit share; `adding`, `claiming`, `settling`, `steering`, `deleting`, `flows`, `schedules`, `state` and `looking` the operations;
`enqueueing` adds jobs on a connection of the user's; `schema` the tables; `listening` how processes wake each other; `texts` how Python's
texts become Postgres's; `address` reads the URL; `faults` says what can be wrong with a server.
"""

from .backend import PostgresBackend

__all__ = ["PostgresBackend"]
