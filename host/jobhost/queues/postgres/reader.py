"""The desk that looks: its connection sees what was committed when it is asked, and holds up nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import psycopg

from ..desk import Desk, Order
from .address import Address
from .faults import in_words, is_lost
from .link import Link, connect


class Look(Protocol):
    """Runs one query and gives its rows."""

    def __call__(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...


def looker(connection: psycopg.Connection) -> Look:
    """A connection, for looking only."""

    def look(query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return connection.execute(query.encode(), values, binary=True).fetchall()

    return look


class Reader(Desk[Link, Look]):
    """Runs reads."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"the connection to {address.where}")
        self._address = address
        self._link = Link(address)

    def _in_words(self, error: Exception) -> Exception:
        return in_words(error, self._address.where)

    def shut(self) -> None:
        """End a wait for a server that says nothing."""
        self._link.shut()

    def _connect(self) -> Link:
        link = self._link = Link(self._address, sorts=True)
        link.connection()
        return link

    def _serve(self, connection: Link, orders: list[Order[Look]]) -> None:
        for order in orders:
            self._read(connection, order, again=True)
        self.tell(_deliver, orders)

    def _read(self, link: Link, order: Order[Look], again: bool) -> None:
        """Run one read; on a new connection, if the one that was there turns out to be cut."""
        try:
            connection = link.connection()
            try:
                order.run(looker(connection))
            except psycopg.Error as error:
                if not again or not is_lost(error, connection):
                    raise
                link.close()
                self._read(link, order, again=False)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            order.error = self._in_words(error)


def scan(address: Address, look: Any) -> Any:
    """Look at much: on a connection of its own, so that short reads do not wait behind it. Raises BackendUnavailableError."""
    try:
        with connect(address) as connection:
            return look(looker(connection))
    except (psycopg.Error, OSError) as error:
        raise in_words(error, address.where) from error


def _deliver(orders: list[Order[Look]]) -> None:
    for order in orders:
        order.deliver()
