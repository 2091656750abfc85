"""Hooks: a row for each job in the application's own database, and a door that some jobs do not pass."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from jobhost import JobEvent, UnrecoverableError

DATABASE = Path(__file__).parent / "app.db"
TABLE = """
CREATE TABLE IF NOT EXISTS job_status (
    queue TEXT, id TEXT, customer TEXT, status TEXT, attempt INTEGER, result TEXT, error TEXT, seconds REAL,
    PRIMARY KEY (queue, id)
)
"""
PUT = "INSERT OR REPLACE INTO job_status VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
UNWANTED = {"Mallory"}


class StatusTable:
    """Made, called and closed on one thread. Each call commits: what the table says has happened."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(DATABASE)
        with self.db:
            self.db.execute(TABLE)

    def on_started(self, job: JobEvent) -> None:
        self._put(job, "running")

    def on_retried(self, job: JobEvent) -> None:
        self._put(job, "waiting")

    def on_completed(self, job: JobEvent) -> None:
        self._put(job, "done")

    def on_failed(self, job: JobEvent) -> None:
        self._put(job, "failed")

    def close(self) -> None:
        self.db.close()

    def _put(self, job: JobEvent, status: str) -> None:
        customer = job.data.get("customer") if isinstance(job.data, dict) else None
        error = None if job.error is None else f"{job.error['type']}: {job.error['message']}"
        row = (job.queue, job.id, customer, status, job.attempt, json.dumps(job.result), error, job.seconds)
        with self.db:
            self.db.execute(PUT, row)


class Door:
    """Refuses runs before they begin."""

    def before(self, job: JobEvent) -> None:
        if isinstance(job.data, dict) and job.data.get("customer") in UNWANTED:
            raise UnrecoverableError(f"{job.data['customer']} gets nothing")
