"""From what a user calls a connection to the driver's own: a Session or Connection of SQLAlchemy has one inside, and says so by its
methods; nothing here imports it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isawaitable
from typing import Any

from jobhost.errors import ConfigurationError

from .job import NewJob
from .seam import Added


async def driver_of(given: Any) -> Any:
    """The driver's connection of a Session, an AsyncSession, a Connection or an AsyncConnection; anything else as it is."""
    if callable(getattr(given, "get_bind", None)):  # a session: it begins its transaction here if it has not yet
        given = given.connection()
        if isawaitable(given):
            given = await given
    if callable(getattr(given, "get_raw_connection", None)):
        return (await given.get_raw_connection()).driver_connection
    return getattr(getattr(given, "connection", None), "driver_connection", given)


class WithoutTransactions:
    """A store in which nothing of a user's own commits."""

    async def add_within(self, connection: object, jobs: Sequence[NewJob]) -> list[Added]:
        """Refuse."""
        text = "jobs are added in a transaction of yours where the queues are in its database: on Postgres or SQLite"
        raise ConfigurationError(f"conn: {text}, and these are not")
