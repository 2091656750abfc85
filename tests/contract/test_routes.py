"""`[[routes]]`: which queue a job goes to, by name, by what it carries, by load; and queues that nobody named before."""

from __future__ import annotations

from typing import Any

import pytest
from jobhost import Client
from jobhost.config.document import Config
from jobhost.config.problems import InvalidConfigurationError
from jobhost.errors import PayloadError
from jobhost.queues.seam import Backend

from .functions import echo, serving
from .hosting import result_of

pytestmark = pytest.mark.anyio
ROUTES: list[dict[str, Any]] = [
    {"name": ["image.*"], "when": {"data.bytes": {"above": 1_000_000}}, "to": "large"},
    {"when": {"data.region": ["eu", "uk"], "metadata.vip": "yes"}, "to": "vip-eu"},
    {"name": ["order.*"], "to": "orders-{data.region}"},
    {"name": ["mail"], "to": ["mail-a", "mail-b", "mail-c"]},
    {"when": {"data.dry_run": True}, "to": "dry"},
]


async def placed(jobs: Client, name: str, data: Any = None, **options: Any) -> str:
    return (await jobs.enqueue(name, data, **options)).queue


async def test_jobs_go_where_the_first_route_that_fits_says(store: Backend) -> None:
    """C9: route jobs to queues by property."""
    config = Config.model_validate({"queue_url": "memory://", "routes": ROUTES})
    async with serving(store, {"echo": echo}), Client(backend=store, config=config) as jobs:
        assert await placed(jobs, "image.resize", {"bytes": 2_000_000}) == "large"
        assert await placed(jobs, "image.resize", {"bytes": 1_000_000}) == "default"
        assert await placed(jobs, "image.resize", {"bytes": "many"}) == "default"
        assert await placed(jobs, "video.cut", {"bytes": 2_000_000}) == "default"
        assert await placed(jobs, "any", {"region": "uk"}, metadata={"vip": "yes"}) == "vip-eu"
        assert await placed(jobs, "any", {"region": "uk"}) == "default"
        assert await placed(jobs, "any", {"dry_run": True}) == "dry"
        assert await placed(jobs, "order.place", {"region": "us/west 1"}) == "orders-us_west_1"
        assert await placed(jobs, "order.place", {"region": "us"}, queue="mine") == "mine"
        with pytest.raises(PayloadError, match=r"needs data\.region"):
            await placed(jobs, "order.place", {})


async def test_of_several_queues_the_least_busy_is_taken(store: Backend) -> None:
    """C9: route jobs to queues by load."""
    config = Config.model_validate({"queue_url": "memory://", "routes": ROUTES})
    async with serving(store, {"echo": echo}), Client(backend=store, config=config) as jobs:
        for _ in range(4):
            await jobs.enqueue("mail", queue="mail-a")
        placements = [await placed(jobs, "mail") for _ in range(8)]
        assert sorted(placements) == ["mail-b"] * 4 + ["mail-c"] * 4


async def test_queues_that_a_pattern_names_are_served_once_they_are_there(store: Backend) -> None:
    """C9: create queues on demand."""
    queues = {"orders-*": {"attempts": 7}}
    config = Config.model_validate({"queue_url": "memory://", "routes": ROUTES})

    def place(job: Any, ctx: Any) -> int:
        return int(ctx.job.max_attempts)

    async with (
        serving(store, {"order.place": place}, queues=queues) as host,
        Client(backend=store, config=config) as jobs,
    ):
        job = await jobs.enqueue("order.place", {"region": "eu"})
        assert job.queue == "orders-eu"
        done = await host.done(job.id, "orders-eu")
        assert result_of(done) == 7
        assert "orders-*" not in host.host.workers


async def test_a_pattern_names_no_queue_of_dead_letters(store: Backend) -> None:
    """G3: a dead-letter queue is never served unless named with -q."""
    queues = {"orders-eu": {"dead_letter": "orders-eu.dead", "attempts": 1}}

    def fail(job: Any, ctx: Any) -> None:
        raise ValueError("no")

    async with serving(store, {"order.place": fail}, queues=queues, only=["orders-*"]) as host:
        id = await host.add("order.place", queue="orders-eu")
        assert (await host.done(id, "orders-eu")).state == "failed"
        await host.host.found.look()
        host.host.serve_found()
        assert sorted(host.host.workers) == ["orders-eu"]
        assert (await store.counts("orders-eu.dead"))["waiting"] == 1


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ({"to": "x"}, "needs a name, a when, or both"),
        ({"name": ["a"]}, "to: is missing"),
        ({"name": ["a"], "to": "x-{region}"}, "is no path of a key"),
        ({"when": {"region": "eu"}, "to": "x"}, "is no path of a key"),
        ({"when": {"data.n": {"over": 1}}, "to": "x"}, "above = N"),
        ({"when": {"data.n": None}, "to": "x"}, "data.n"),
    ],
)
def test_a_wrong_route_is_said_where_it_stands(route: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as raised:
        Config.model_validate({"routes": [route]})
    assert text in str(raised.value)
    assert "routes[0]" in str(raised.value)
