"""Limits over all hosts, and turns between keys, on every store that a claim chooses from."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, NewJob, PublishedHandler, Rate
from jobhost.queues.limits import KEYED, Limits, NameLimit, key_of, paths_of
from jobhost.queues.seam import Backend, Claimed

from .backends import LEASE_MS, TurnedClock, completed, returned

pytestmark = pytest.mark.anyio


async def published(backend: Backend, name: str = "pay", key: Any = "data.tenant") -> None:
    info = json.dumps({"key": key}).encode()
    await backend.publish([PublishedHandler(name, "default", info)])


async def fill(backend: Backend, *tenants: str, name: str = "pay", **options: Any) -> None:
    await backend.add([NewJob(name, json.dumps({"tenant": one}).encode(), **options) for one in tenants])


async def take(
    backend: Backend,
    limit: int,
    pay: NameLimit | None = KEYED,
    concurrency: int | None = None,
    admission: Admission | None = None,
    **names: NameLimit,
) -> Claimed:
    limits = Limits(concurrency, {**({} if pay is None else {"pay": pay}), **names})
    return await backend.claim("default", limit, admission or Admission(), LEASE_MS, "host", limits=limits)


def tenants(claims: list[Claim]) -> list[str]:
    return [json.loads(claim.job.data)["tenant"] for claim in claims]


async def end(backend: Backend, claims: list[Claim]) -> None:
    assert all(await backend.settle([completed(claim) for claim in claims]))


async def test_keys_take_turns_whatever_their_age(backend: Backend) -> None:
    """H2: per user or tenant: one tenant's backlog does not hold up another's."""
    await published(backend)
    await fill(backend, *["noisy"] * 100)
    await fill(backend, "a", "b", "c")
    first = (await take(backend, 4)).claims
    assert sorted(tenants(first)) == ["a", "b", "c", "noisy"]
    await fill(backend, "a")
    second = (await take(backend, 2)).claims
    assert sorted(tenants(second)) == ["a", "noisy"]
    assert Counter(tenants((await take(backend, 1000)).claims)) == {"noisy": 98}


async def test_the_turn_goes_on_from_claim_to_claim(backend: Backend) -> None:
    await published(backend)
    await fill(backend, *["a"] * 3, *["b"] * 3, *["c"] * 3)
    seen = [tenants((await take(backend, 1)).claims)[0] for _ in range(9)]
    assert [sorted(seen[start : start + 3]) for start in (0, 3, 6)] == [["a", "b", "c"]] * 3


async def test_jobs_of_one_key_keep_their_order(backend: Backend) -> None:
    await published(backend)
    await backend.add(
        [
            NewJob("pay", b'{"tenant":"a","n":1}', priority=2),
            NewJob("pay", b'{"tenant":"a","n":2}', priority=1),
            NewJob("pay", b'{"tenant":"a","n":3}', priority=2),
            NewJob("pay", b'{"tenant":"a","n":4}'),
        ]
    )
    taken = [json.loads((await take(backend, 1)).claims[0].job.data)["n"] for _ in range(4)]
    assert taken == [4, 2, 1, 3]


async def test_a_key_has_only_so_many_running(backend: Backend, other: Backend) -> None:
    """H1, H2: concurrency by key, across hosts."""
    await published(backend)
    await fill(backend, *["a"] * 5, *["b"] * 5)
    limit = NameLimit(keyed=True, key_concurrency=2)
    first = (await take(backend, 3, limit)).claims
    second = (await take(other, 10, limit)).claims
    assert Counter(tenants(first + second)) == {"a": 2, "b": 2}
    blocked = await take(backend, 10, limit)
    assert (blocked.claims, blocked.more) == ([], False)
    assert blocked.next_due is not None
    await end(backend, [claim for claim in first if tenants([claim]) == ["a"]][:1])
    assert tenants((await take(other, 10, limit)).claims) == ["a"]


async def test_a_key_begins_only_so_many_in_a_window(backend: Backend, clock: TurnedClock) -> None:
    """H2: rate limits by key."""
    await published(backend)
    await fill(backend, *["a"] * 5, "b")
    limit = NameLimit(keyed=True, key_rate=Rate(2, 1_000))
    claimed = await take(backend, 10, limit)
    assert Counter(tenants(claimed.claims)) == {"a": 2, "b": 1}
    again = await take(backend, 10, limit)
    assert again.claims == []
    assert again.next_due is not None
    assert clock.now < again.next_due <= clock.now + 1_000
    clock.advance(1_000)
    assert tenants((await take(backend, 10, limit)).claims) == ["a", "a"]


async def test_a_handler_has_only_so_many_running_on_all_hosts(backend: Backend, other: Backend) -> None:
    """H1: concurrency of a handler and of a queue, across hosts."""
    await backend.add([NewJob("mail") for _ in range(6)] + [NewJob("echo") for _ in range(6)])
    mail = NameLimit(concurrency=2)
    first = (await take(backend, 4, None, mail=mail)).claims
    second = (await take(other, 20, None, mail=mail)).claims
    assert Counter(claim.job.name for claim in first + second) == {"mail": 2, "echo": 6}
    await end(backend, [claim for claim in first + second if claim.job.name == "mail"])
    third = await take(backend, 20, None, concurrency=7, mail=mail)
    assert Counter(claim.job.name for claim in third.claims) == {"mail": 1}
    assert third.next_due is not None


async def test_a_handler_begins_only_so_many_in_a_window(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """H2: a rate of a handler, over all hosts."""
    await backend.add([NewJob("mail") for _ in range(6)])
    mail = NameLimit(rate=Rate(2, 500))
    assert len((await take(backend, 1, None, mail=mail)).claims) == 1
    assert len((await take(other, 9, None, mail=mail)).claims) == 1
    blocked = await take(backend, 9, None, mail=mail)
    assert blocked.claims == []
    assert blocked.next_due is not None
    clock.advance(500)
    assert len((await take(other, 9, None, mail=mail)).claims) == 2


async def test_handlers_without_a_key_are_not_forgotten(backend: Backend) -> None:
    """Handlers take turns too: neither the keyed ones nor the others can hold up the rest."""
    await published(backend)
    await fill(backend, *["a"] * 50, *["b"] * 50)
    await backend.add([NewJob("echo", b'{"tenant":"-"}') for _ in range(50)])
    seen = Counter(tenants((await take(backend, 30)).claims))
    assert seen["-"] == 15
    assert seen["a"] + seen["b"] == 15


async def test_a_key_is_known_of_jobs_that_were_there_before_it(backend: Backend) -> None:
    await fill(backend, *["noisy"] * 20, "quiet")
    await fill(backend, "late", delay_ms=1)
    await published(backend)
    assert sorted(tenants((await take(backend, 2)).claims)) == ["noisy", "quiet"]
    await published(backend, key=None)
    assert tenants((await take(backend, 3, None)).claims) == ["noisy"] * 3


async def test_a_job_that_comes_back_takes_its_turn_again(backend: Backend, clock: TurnedClock) -> None:
    await published(backend)
    await fill(backend, *["a"] * 10, "b")
    claims = (await take(backend, 2)).claims
    await backend.settle([returned(claim, 50) for claim in claims])
    assert tenants((await take(backend, 2)).claims) == ["a", "a"]
    clock.advance(50)
    assert sorted(tenants((await take(backend, 2)).claims)) == ["a", "b"]


async def test_edited_data_may_mean_another_key(backend: Backend) -> None:
    await published(backend)
    await fill(backend, "a", "a", "a")
    [job, *_], _ = await backend.jobs("default")
    assert await backend.edit("default", job.id, b'{"tenant":"b"}')
    limit = NameLimit(keyed=True, key_concurrency=1)
    assert sorted(tenants((await take(backend, 9, limit)).claims)) == ["a", "b"]


async def test_what_is_removed_or_cancelled_holds_up_nobody(backend: Backend) -> None:
    await published(backend)
    await fill(backend, *["a"] * 4, "b")
    jobs, _ = await backend.jobs("default")
    by_age = sorted(jobs, key=lambda job: int(job.id))
    assert await backend.remove("default", by_age[0].id)
    assert await backend.cancel("default", by_age[1].id) == "cancelled"
    assert sorted(tenants((await take(backend, 9)).claims)) == ["a", "a", "b"]
    assert await backend.retry("default", by_age[1].id)
    assert tenants((await take(backend, 9)).claims) == ["a"]


async def test_places_of_a_host_count_too(backend: Backend) -> None:
    await published(backend)
    await fill(backend, *["a"] * 5, *["b"] * 5)
    await backend.add([NewJob("echo", b'{"tenant":"-"}')])
    full = Admission([(("pay",), 1)])
    claimed = await take(backend, 9, admission=full)
    assert Counter(tenants(claimed.claims))["-"] == 1
    assert len(claimed.claims) == 2


async def test_a_paused_queue_gives_no_turn(backend: Backend) -> None:
    await published(backend)
    await fill(backend, "a")
    await backend.pause("default")
    assert (await take(backend, 1)).claims == []
    await backend.resume("default")
    assert len((await take(backend, 1)).claims) == 1


async def test_many_keys(backend: Backend) -> None:
    await published(backend)
    await fill(backend, *(f"tenant-{number:04}" for number in range(1_000) for _ in range(2)))
    seen: Counter[str] = Counter()
    for _ in range(10):
        seen.update(tenants((await take(backend, 100)).claims))
    assert len(seen) == 1_000
    assert set(seen.values()) == {1}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"tenant":"a\\u00e9"}', "aé"),
        (b'{"tenant":12}', "12"),
        (b'{"tenant":true}', "true"),
        (b'{"tenant":null}', ""),
        (b'{"tenant":{"id":1}}', ""),
        (b'{"other":1}', ""),
        (b"[1,2]", ""),
        (b'"text"', ""),
        (b"not json", ""),
    ],
)
def test_a_key_is_a_text_a_number_or_a_truth_value(data: bytes, key: str) -> None:
    assert key_of(data, None, paths_of("data.tenant")) == key


def test_several_paths_make_one_key() -> None:
    paths = paths_of(["data.customer.id", "metadata.region"])
    assert key_of(b'{"customer":{"id":"c"}}', b'{"region":"eu"}', paths) == "c\x1feu"
    assert key_of(b'{"customer":7}', None, paths) == "\x1f"
    for wrong in ("tenant", "data", "data.", "job.id"):
        with pytest.raises(ValueError, match="no path of a key"):
            paths_of(wrong)
