"""Queues in one SQLite file: durable, without a server, for any number of processes of one machine.

`backend` is the seam; `desk` the two threads behind it; `transaction` what the operations of one commit share; `adding`,
`claiming`, `settling`, `steering`, `deleting`, `state` and `looking` the operations; `schema` the file; `bell` how
processes wake each other; `faults` what can be wrong with a file.
"""

from .backend import SqliteBackend

__all__ = ["SqliteBackend"]
