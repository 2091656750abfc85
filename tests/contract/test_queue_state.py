"""State: values under keys under scopes, durable, shared by handles, atomic."""

from __future__ import annotations

import anyio
import pytest
from jobhost.errors import StateTypeError
from jobhost.queues.job import HostInfo
from jobhost.queues.seam import Backend

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
