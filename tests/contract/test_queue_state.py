"""State: values under keys under scopes, durable, shared by handles, atomic."""

from __future__ import annotations

import anyio
import pytest
from jobhost.errors import LeaseLostError, StateLimitError, StateTypeError
from jobhost.queues.job import HostInfo
from jobhost.queues.seam import Backend
from jobhost.queues.state_ops import MOST_KEYS, StateOp

from .backends import TurnedClock, add, claim_one, lease

pytestmark = pytest.mark.anyio


async def test_a_value_comes_back_from_any_handle(backend: Backend, other: Backend) -> None:
    """E2: ctx.state.get and set."""
    await backend.state_set("flow:1", "k", b'{"a":[1]}')
    assert await other.state_get("flow:1", "k") == b'{"a":[1]}'
    await other.state_set("flow:1", "k", b"2")
    assert await backend.state_get("flow:1", "k") == b"2"


async def test_a_missing_value_is_told_from_null(backend: Backend) -> None:
    assert await backend.state_get("s", "k") is None
    await backend.state_set("s", "k", b"null")
    assert await backend.state_get("s", "k") == b"null"


async def test_scopes_are_apart(backend: Backend) -> None:
    await backend.state_set("flow:1", "k", b"1")
    await backend.state_set("flow:11", "k", b"2")
    assert await backend.state_get("flow:1", "k") == b"1"
    assert await backend.state_get("global", "k") is None
    assert await backend.state_scopes() == ["flow:1", "flow:11"]


async def test_delete_says_whether_there_was_a_value(backend: Backend) -> None:
    await backend.state_set("s", "k", b"1")
    assert await backend.state_delete("s", "k")
    assert not await backend.state_delete("s", "k")
    assert await backend.state_scopes() == []


async def test_a_value_passes_away_with_its_ttl(backend: Backend, clock: TurnedClock) -> None:
    await backend.state_set("s", "k", b"1", ttl_ms=100)
    clock.advance(99)
    assert await backend.state_get("s", "k") == b"1"
    clock.advance(1)
    assert await backend.state_get("s", "k") is None
    assert await backend.state_keys("s") == ([], None)
    assert await backend.state_scopes() == []
    assert not await backend.state_delete("s", "k")


async def test_a_new_value_has_a_new_ttl_or_none(backend: Backend, clock: TurnedClock) -> None:
    await backend.state_set("s", "a", b"1", ttl_ms=100)
    await backend.state_set("s", "a", b"2")
    await backend.state_set("s", "b", b"1", ttl_ms=100)
    await backend.state_set("s", "b", b"2", ttl_ms=300)
    clock.advance(200)
    assert await backend.state_keys("s") == (["a", "b"], None)
    clock.advance(200)
    assert await backend.state_keys("s") == (["a"], None)


async def test_sweeping_takes_only_what_has_passed_away(backend: Backend, clock: TurnedClock) -> None:
    await backend.state_set("s", "gone", b"1", ttl_ms=100)
    await backend.state_set("s", "there", b"1", ttl_ms=1_000)
    await backend.state_set("s", "renewed", b"1", ttl_ms=100)
    await backend.state_set("s", "renewed", b"1")
    clock.advance(100)
    await backend.heartbeat(HostInfo("h", clock.now, clock.now, b"{}"))
    assert await backend.state_keys("s") == (["renewed", "there"], None)


async def test_incr_counts_from_nothing(backend: Backend) -> None:
    assert await backend.state_incr("s", "n") == 1
    assert await backend.state_incr("s", "n", 41) == 42
    assert await backend.state_incr("s", "n", -50) == -8
    assert await backend.state_get("s", "n") == b"-8"


async def test_incr_goes_on_from_a_value_that_was_set(backend: Backend) -> None:
    await backend.state_set("s", "n", b" 41\n")
    assert await backend.state_incr("s", "n") == 42


async def test_incr_keeps_the_ttl(backend: Backend, clock: TurnedClock) -> None:
    await backend.state_set("s", "n", b"5", ttl_ms=100)
    clock.advance(50)
    assert await backend.state_incr("s", "n") == 6
    clock.advance(50)
    assert await backend.state_incr("s", "n") == 1
    clock.advance(1_000)
    assert await backend.state_incr("s", "n") == 2


async def test_incr_is_atomic_over_handles(backend: Backend, other: Backend) -> None:
    """Atomic across hosts."""

    async def count(handle: Backend) -> None:
        for _ in range(50):
            await handle.state_incr("s", "n")

    async with anyio.create_task_group() as tasks:
        for handle in (backend, other, backend, other):
            tasks.start_soon(count, handle)
    assert await other.state_get("s", "n") == b"200"


@pytest.mark.parametrize("value", [b'"1"', b"1.0", b"1e3", b"null", b"[]", b"true", b"01", b"9007199254740992"])
async def test_incr_needs_an_integer(backend: Backend, value: bytes) -> None:
    await backend.state_set("s", "n", value)
    with pytest.raises(StateTypeError):
        await backend.state_incr("s", "n")
    assert await backend.state_get("s", "n") == value


@pytest.mark.parametrize(
    ("value", "by"), [(b"9007199254740991", 1), (b"-9007199254740991", -1), (b"1", 2**53), (b"0", 10**30)]
)
async def test_incr_stays_among_the_integers_that_json_carries(backend: Backend, value: bytes, by: int) -> None:
    await backend.state_set("s", "n", value)
    with pytest.raises(StateTypeError, match="9007199254740991"):
        await backend.state_incr("s", "n", by)
    assert await backend.state_get("s", "n") == value


async def test_a_refused_incr_spoils_nothing_beside_it(backend: Backend) -> None:
    await backend.state_set("s", "text", b'"x"')
    refused: list[int] = []

    async def refuse(n: int) -> None:
        try:
            await backend.state_incr("s", "text")
        except StateTypeError:
            refused.append(n)

    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(backend.state_incr, "s", "n")
            tasks.start_soon(refuse, n)
    assert len(refused) == 20
    assert await backend.state_get("s", "n") == b"20"


async def test_keys_come_in_order_a_page_at_a_time(backend: Backend) -> None:
    async with anyio.create_task_group() as tasks:
        for n in range(2_345):
            tasks.start_soon(backend.state_set, "s", f"k{n:05}", b"1")
    await backend.state_set("t", "other", b"1")
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor:
        page, cursor = await backend.state_keys("s", cursor)
        pages.append(page)
    assert [len(page) for page in pages] == [1_000, 1_000, 345]
    assert [key for page in pages for key in page] == [f"k{n:05}" for n in range(2_345)]


async def test_any_text_is_a_key(backend: Backend) -> None:
    keys = sorted(["", "a", "ä", "\U0001f600", "\ufffd", "a\x00b", "'; DROP TABLE jobs"])
    for key in keys:
        await backend.state_set("s", key, b"1")
    assert await backend.state_keys("s") == (keys, None)


async def test_a_holder_writes_with_its_lease(backend: Backend) -> None:
    await add(backend, "a")
    held = lease(await claim_one(backend))
    await backend.state_set("s", "k", b"1", lease=held)
    assert await backend.state_incr("s", "k", lease=held) == 2
    assert await backend.state_delete("s", "k", lease=held)


async def test_compare_and_set_changes_only_what_was_expected(backend: Backend, other: Backend) -> None:
    """E2: two hosts that compare and set: one wins."""

    async def cas(handle: Backend, expected: bytes | None, value: bytes | None) -> object:
        [result] = await handle.state_change("s", [StateOp("cas", "k", value, expected=expected)])
        return result

    assert await cas(backend, b"1", b"2") is False
    assert await cas(backend, None, b'{"n":1}') is True
    assert await cas(other, None, b"2") is False
    assert await cas(other, b'{"n":1}', b"null") is True
    assert await backend.state_get("s", "k") == b"null"
    assert await cas(other, b"null", None) is True
    assert await backend.state_get("s", "k") is None
    assert await backend.state_scopes() == []


async def test_many_changes_are_one_step(backend: Backend, clock: TurnedClock) -> None:
    ops = [
        StateOp("set", "a", b"1"),
        StateOp("incr", "a", by=2),
        StateOp("set", "b", b'"x"', ttl_ms=100),
        StateOp("delete", "c"),
        StateOp("incr", "n", by=-3),
        StateOp("delete", "b"),
        StateOp("cas", "a", b"9", expected=b"3"),
    ]
    assert await backend.state_change("s", ops) == [None, 3, None, False, -3, True, True]
    assert (await backend.state_keys("s"))[0] == ["a", "n"]
    assert await backend.state_get("s", "a") == b"9"
    with pytest.raises(StateTypeError):
        await backend.state_change("s", [StateOp("set", "a", b'"text"'), StateOp("incr", "a")])
    assert await backend.state_get("s", "a") == b"9"


async def test_a_batch_of_a_lost_lease_changes_nothing(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    held = lease(claimed)
    assert await backend.state_change("s", [StateOp("set", "k", b"1")], held) == [None]
    with pytest.raises(LeaseLostError):
        await backend.state_change("s", [StateOp("set", "k", b"2")], held._replace(token="stale"))
    assert await backend.state_get("s", "k") == b"1"


async def test_a_scope_has_room_for_so_many_keys(backend: Backend) -> None:
    """The limit is named; what is there already can be changed and removed."""
    for start in range(0, MOST_KEYS, 1_000):
        await backend.state_change("s", [StateOp("set", f"k{number}", b"1") for number in range(start, start + 1_000)])
    with pytest.raises(StateLimitError, match="10,000 keys"):
        await backend.state_set("s", "one more", b"1")
    await backend.state_set("s", "k7", b"2")
    assert await backend.state_delete("s", "k8")
    await backend.state_set("s", "one more", b"1")
    await backend.state_set("other", "k", b"1")
