"""The desk that writes: everything that queued up becomes one transaction, one flush of the disk and one call of the loop.

A transaction that another host's got in the way of is tried again, and so is one whose connection broke before the commit. Where it broke
in the commit the server is asked what became of it (`verdicts`). Operations that have to wait long for somebody's rows wait by themselves,
in turns, and let the others pass.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Container

import psycopg

from jobhost.errors import BackendUnavailableError

from ..clock import Clock
from ..desk import Desk, Order
from ..feed import Everything, Feed
from .address import Address
from .faults import HELD_UP, TRIED_AGAIN, in_words, is_lost, state_of
from .link import Link
from .listening import CANCEL, letters
from .schema import SHARDS, make_sequence
from .texts import numbers, words
from .transaction import Again, Transaction
from .verdicts import Doubts, InDoubt, verdict

TRIES = 20
"""Of a transaction that others got in the way of."""

TURNS = 40
"""Of an operation that waits for somebody's rows: ten seconds."""

# The number of the transaction, and whether nobody holds the lock of those who listen to events.
_BEGIN = "BEGIN; SELECT pg_current_xact_id()::text, pg_try_advisory_lock({0}) AND pg_advisory_unlock({0})"
_LOCK = "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS u (key)"
_NOTIFY = "SELECT pg_notify(%s, letter) FROM unnest(%s::text[]) AS u (letter)"


class Writer(Desk[Link, Transaction]):
    """Runs operations in transactions, and tells watchers, subscribers and other processes what came of it."""

    def __init__(self, address: Address, clock: Clock, feed: Feed) -> None:
        super().__init__(f"the connection to {address.where}")
        self._address = address
        self._link = Link(address)
        self._clock = clock
        self._feed = feed
        self._begin = _BEGIN.format(address.key("events")).encode()
        self._shard = secrets.randbelow(SHARDS)
        self._numbered: set[str] = set()
        self._doubts = Doubts()
        self._turns: dict[int, int] = {}
        self.handle = secrets.token_hex(4)
        """Tells the letters of this handle from those of others."""

    def _in_words(self, error: Exception) -> Exception:
        return in_words(error, self._address.where)

    def shut(self) -> None:
        """End a wait for a server that says nothing."""
        self._link.shut()

    def _connect(self) -> Link:
        link = self._link = Link(self._address)
        link.connection()
        return link

    def _serve(self, connection: Link, orders: list[Order[Transaction]]) -> None:
        """Run orders in one transaction; if it fails by the fault of one of them, each in a transaction of its own."""
        try:
            tx = self._commit(connection, orders)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._failed(connection, orders, error)
            return
        self._turns.clear()
        self.tell(self._deliver, orders, tx)

    def _failed(self, link: Link, orders: list[Order[Transaction]], error: Exception) -> None:
        if len(orders) > 1 and isinstance(error, psycopg.Error) and not self._is_hopeless(error):
            for order in orders:
                self._serve(link, [order])
            return
        if state_of(error) == HELD_UP and self._takes_turns(orders[0]):
            return
        for order in orders:
            order.error = self._in_words(error)
        self.tell(_deliver, orders)

    @staticmethod
    def _is_hopeless(error: psycopg.Error) -> bool:
        """Whether it meets all operations alike."""
        return state_of(error)[:2] in ("", "08", "53", "57", "58", "XX") and state_of(error) != "53200"

    def _takes_turns(self, order: Order[Transaction]) -> bool:
        turns = self._turns[id(order)] = self._turns.get(id(order), 0) + 1
        if turns < TURNS:
            self._inbox.put(order)
            return True
        del self._turns[id(order)]
        return False

    # One transaction --------------------------------------------------------------------------------------------

    def _commit(self, link: Link, orders: list[Order[Transaction]]) -> Transaction:
        """Run and commit a transaction, as often as it takes."""
        locks: frozenset[int] = frozenset()
        tries, cut = 0, False
        while True:
            connection = link.connection()
            try:
                return self._transact(connection, orders, locks)
            except Again as again:
                locks |= again.locks
                for queue in again.queues:
                    make_sequence(connection, queue)
            except InDoubt as doubt:
                link.close()
                if self._ask(link, doubt, orders) == "committed":
                    return doubt.tx
            except psycopg.Error as error:
                if is_lost(error, connection) and not cut:
                    cut = True
                    link.close()
                elif state_of(error) in TRIED_AGAIN and tries < TRIES:
                    time.sleep(random.uniform(0, 0.002) * tries)
                else:
                    raise
            tries += 1

    def _transact(
        self, connection: psycopg.Connection, orders: list[Order[Transaction]], locks: frozenset[int]
    ) -> Transaction:
        try:
            begun = connection.execute(self._begin, prepare=False)
            begun.nextset()
            [(xid, unheard)] = begun.fetchall()
            if locks:
                connection.execute(_LOCK, (numbers(sorted(locks)),))
            tx = Transaction(connection, self._address, self._shard, self._clock(), self._wanted(unheard), locks)
            tx.xid = xid
            tx.numbered = self._numbered
            tx.doubtful = lambda token: self._doubts.were_settled(connection, token)
            for order in orders:
                order.run(tx)
            tx.finish()
            self._notify(connection, tx, unheard)
        except BaseException:
            _roll_back(connection)
            raise
        self._end(connection, tx)
        return tx

    @staticmethod
    def _end(connection: psycopg.Connection, tx: Transaction) -> None:
        try:
            connection.execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            if is_lost(error, connection):
                raise InDoubt(tx) from error
            _roll_back(connection)
            raise

    def _ask(self, link: Link, doubt: InDoubt, orders: list[Order[Transaction]]) -> str:
        """Learn what became of a commit. Raises BackendUnavailableError if that can't be; then who tries again learns it, and claims
        are given back."""
        found = verdict(link, doubt.tx)
        if found == "unknown":
            self._doubts.add(doubt.tx)
            for order in orders:
                if order.error is None and order.undo is not None:
                    self.tell(order.undo, order.result)
            text = "was lost while it committed, so that it is not known whether this was done"
            raise BackendUnavailableError(f"the connection to {self._address.where} {text}; look before you try again")
        return found

    def _wanted(self, unheard: bool) -> Container[str]:
        """The types of events that are wanted here or by another process."""
        return _With(CANCEL, self._feed.wanted) if unheard else Everything()

    def _notify(self, connection: psycopg.Connection, tx: Transaction, unheard: bool) -> None:
        """Tell the other processes, once this is committed."""
        events = [event for event in tx.events if event.type == CANCEL] if unheard else tx.events
        told = letters(self.handle, tx.woken, events)
        if told:
            connection.execute(_NOTIFY, (self._address.channel, words(told)))

    def _deliver(self, orders: list[Order[Transaction]], tx: Transaction) -> None:
        _deliver(orders)
        self._feed.wake(tx.woken)
        self._feed.publish(tx.events)


class _With(Container[str]):
    """A set of event types and one more."""

    def __init__(self, type: str, others: Container[str]) -> None:
        self._type = type
        self._others = others

    def __contains__(self, type: object) -> bool:
        return type == self._type or type in self._others


def _deliver(orders: list[Order[Transaction]]) -> None:
    for order in orders:
        order.deliver()


def _roll_back(connection: psycopg.Connection) -> None:
    """End a transaction without a trace, if there still is a connection that could be in one."""
    try:
        connection.execute("ROLLBACK", prepare=False)
    except psycopg.Error:
        connection.close()
