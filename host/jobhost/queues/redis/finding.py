"""Which server takes the writes: asked of sentinels, or of a cluster's nodes, before each new connection.

A queue's keys all begin with one prefix. In a cluster that prefix is in braces, so that all of them are in one slot
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags): then one connection to the node of that slot
serves everything, and after a failover or a move of the slot a new connection finds the next one.
"""

from __future__ import annotations

from typing import Any

from jobhost.errors import BackendUnavailableError, ConfigurationError

from .address import Address
from .connection import Connection, RefusedError, ReplyError, unavailable


async def connect(address: Address, prefix: str, name: str | None) -> Connection:
    """Connect to the server that takes writes for `prefix`; each place is tried in turn.

    Raises BackendUnavailableError, or ConfigurationError for a cluster whose slots the prefix would scatter keys over.
    """
    problems: list[BackendUnavailableError] = []
    for place in address.places:
        try:
            if address.sentinel is not None:
                return await _primary(await _ask_sentinel(place), name)
            return await _node_of(place, prefix, name)
        except BackendUnavailableError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    raise BackendUnavailableError("; ".join(dict.fromkeys(map(str, problems))))


async def _open(address: Address, name: str | None) -> Connection:
    connection = Connection(address)
    await connection.open(name)
    return connection


# Sentinels --------------------------------------------------------------------------------------------------------------


async def _ask_sentinel(place: Address) -> Address:
    """Where the primary is now."""
    sentinel = Connection(place.of_sentinel())
    await sentinel.open(None)
    try:
        found = await sentinel.call("SENTINEL", "get-master-addr-by-name", place.sentinel or "")
    except ReplyError as error:
        raise unavailable(place, f"is no sentinel, as ?sentinel= says: {error}") from error
    finally:
        sentinel.abort()
    if not found:
        raise unavailable(place, f"is a sentinel that knows no {place.sentinel!r}: see ?sentinel= in queue_url")
    return place.at(found[0].decode(), int(found[1]))


async def _primary(address: Address, name: str | None) -> Connection:
    connection = await _open(address, name)
    try:
        role = await connection.call("ROLE")
        if role[0] != b"master":
            raise unavailable(
                address, "is the primary for its sentinels and a replica for itself: a failover is under way"
            )
    except BaseException:
        connection.abort()
        raise
    return connection


# Clusters ---------------------------------------------------------------------------------------------------------------


async def _node_of(place: Address, prefix: str, name: str | None) -> Connection:
    """A connection to this server, or to the node of its cluster that has the prefix's keys."""
    connection = await _open(place, name)
    try:
        slots = await _slots(connection)
        if slots is None:
            return connection
        if not (prefix.startswith("{") and prefix.endswith("}") and len(prefix) > 2):
            raise ConfigurationError(
                f"prefix: the Redis server {place.shown} is a cluster, and {prefix!r} would scatter a queue's keys over its nodes: "
                f'write prefix = "{{{prefix.strip("{}")}}}", here and in all other workers and producers'
            )
        slot = int(await connection.call("CLUSTER", "KEYSLOT", prefix))
        there = _place_of(place, slots, slot)
        if there == place:
            return connection
    except BaseException:
        connection.abort()
        raise
    connection.abort()
    return await _open(there, name)


async def _slots(connection: Connection) -> list[Any] | None:
    """Which node has which slots; None for a server that is alone."""
    try:
        found: list[Any] = await connection.call("CLUSTER", "SLOTS")
    except ReplyError:  # no cluster
        return None
    except RefusedError as error:
        if error.word != "NOPERM":
            raise
        return None  # a user who may not ask: taken for alone, and a cluster would say MOVED
    return found


def _place_of(place: Address, slots: list[Any], slot: int) -> Address:
    for first, last, primary, *_ in slots:
        if first <= slot <= last:
            # A node that does not know its own name means the one that was asked.
            return place.at(primary[0].decode() if primary[0] else place.host, int(primary[1]))
    raise unavailable(place, f"is a cluster in which no node has slot {slot}")
