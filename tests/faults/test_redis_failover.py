"""A primary that dies under its sentinels, and a cluster whose slot moves: found again, nothing lost, nothing done twice."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.errors import BackendUnavailableError, ConfigurationError
from jobhost.queues.job import NewJob
from jobhost.queues.redis import RedisBackend

from tests.contract.functions import Gate, Recorder, echo, serving, until
from tests.contract.hosting import PATIENCE, result_of
from tests.redis_server import Instance, waited_for

pytestmark = pytest.mark.anyio
REDIS: dict[str, Any] = {"queue_url": "redis://localhost"}
ALONE = ("appendonly no",)
CLUSTER = ("cluster-enabled yes", "cluster-node-timeout 1000", "cluster-require-full-coverage no")


Launch = Callable[..., Instance]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts servers that end with the test."""
    running: list[Instance] = []

    def one(*lines: str, sentinel: bool = False) -> Instance:
        running.append(Instance(tmp_path / str(len(running)), *lines, sentinel=sentinel))
        return running[-1]

    yield one
    for instance in running:
        instance.close()


class Watched:
    """A primary, its replica and a sentinel."""

    def __init__(self, launch: Launch) -> None:
        self.primary = launch(*ALONE)
        self.replica = launch(*ALONE, f"replicaof 127.0.0.1 {self.primary.port}")
        watching = (
            f"sentinel monitor jobs 127.0.0.1 {self.primary.port} 1",
            "sentinel down-after-milliseconds jobs 300",
            "sentinel failover-timeout jobs 3000",
        )
        self.sentinel = launch(*watching, sentinel=True)
        waited_for(lambda: self.replica.ask("INFO", "replication")["master_link_status"] == "up")
        waited_for(lambda: len(self.sentinel.ask("SENTINEL", "replicas", "jobs")) == 1)
        self.url = f"redis://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/2?sentinel=jobs"


@pytest.fixture
def watched(launch: Launch) -> Watched:
    return Watched(launch)


async def added(backend: RedisBackend, *jobs: NewJob) -> list[str]:
    """Add jobs as soon as there is a server."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return [one.id for one in await backend.add(jobs)]
            except BackendUnavailableError:
                await anyio.sleep(0.02)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_failover_loses_nothing_that_its_replica_had(watched: Watched, how: str) -> None:
    """B4, C3: what runs goes on and is completed at the new primary, what waited is done there, each once; said, and said when over."""
    gate, log, ran = Gate(), Recorder(), Counter[str]()

    def count(job: Any, ctx: Any) -> None:
        ran[job.id] += 1

    backend = RedisBackend(watched.url)
    async with serving(backend, {"gate": gate, "count": count}, log=log, **REDIS) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        host.host.pause()
        waiting = await added(backend, *(NewJob("count") for _ in range(100)))
        assert watched.primary.ask("WAIT", 1, 5000) == 1
        if how == "killed":
            watched.primary.kill()
        else:
            watched.primary.signal(signal.SIGSTOP)
        gate.open()
        host.host.resume()
        more = await added(backend, *(NewJob("count") for _ in range(20)))
        done = await host.done(held)
        assert (result_of(done), done.attempts_made) == (held, 1)
        for id in (*waiting, *more):
            assert (await host.done(id)).state == "completed"
        assert ran == dict.fromkeys((*waiting, *more), 1)
        await until(lambda: bool(log.of("backend.available")))
        assert log.of("backend.unavailable")
        assert watched.replica.ask("ROLE")[0] == b"master"


async def test_sentinels_that_know_nothing_are_said(watched: Watched) -> None:
    """Each place with what is wrong there."""
    port = watched.sentinel.port
    with pytest.raises(BackendUnavailableError) as caught:
        await RedisBackend(f"redis://127.0.0.1:1,127.0.0.1:{port}?sentinel=other").open()
    assert "127.0.0.1:1 can't be reached" in str(caught.value)
    assert f"redis://127.0.0.1:{port} is a sentinel that knows no 'other': see ?sentinel= in queue_url" in str(
        caught.value
    )
    with pytest.raises(BackendUnavailableError, match="is no sentinel, as \\?sentinel= says"):
        await RedisBackend(f"redis://127.0.0.1:{watched.primary.port}?sentinel=jobs").open()


# Clusters ---------------------------------------------------------------------------------------------------------------


class Cluster:
    """Two nodes; the slot of `{bull}` is at the second."""

    prefix = "{bull}"

    def __init__(self, launch: Launch) -> None:
        self.nodes = [launch(*CLUSTER) for _ in range(2)]
        first, second = self.nodes
        self.slot = int(first.ask("CLUSTER KEYSLOT", self.prefix))
        first.ask("CLUSTER ADDSLOTSRANGE", 0, self.slot - 1, self.slot + 1, 16383)
        second.ask("CLUSTER ADDSLOTS", self.slot)
        first.ask("CLUSTER MEET", "127.0.0.1", second.port, second.bus)
        self.ids = [node.ask("CLUSTER MYID") for node in self.nodes]
        waited_for(lambda: all(len(slots_of(node)) == 3 for node in self.nodes))
        waited_for(lambda: all(node.ask("CLUSTER INFO")["cluster_state"] == "ok" for node in self.nodes))
        self.url = f"redis://127.0.0.1:{first.port}"

    def hand_over(self) -> None:
        """Give the slot, with nothing in it, to the first node."""
        first, second = self.nodes
        for node in (second, first):
            node.ask("FLUSHALL")
            node.ask("CLUSTER SETSLOT", self.slot, "NODE", self.ids[0])


def slots_of(node: Instance) -> list[Any]:
    """The ranges of slots a node knows of."""
    lines = node.ask("CLUSTER NODES")
    text = lines if isinstance(lines, str) else str(lines)
    return (
        [word for line in text.splitlines() for word in line.split()[8:]] if isinstance(lines, str) else _ranges(lines)
    )


def _ranges(nodes: Any) -> list[Any]:
    return [one for node in nodes.values() for one in node["slots"]]


@pytest.fixture
def cluster(launch: Launch) -> Cluster:
    return Cluster(launch)


async def test_a_cluster_is_worked_at_the_node_that_has_the_prefix(cluster: Cluster) -> None:
    """B4: jobs, state, events and cancels through any node; after the slot has moved the next node is found."""
    log = Recorder()
    backend = RedisBackend(cluster.url, cluster.prefix)
    async with serving(backend, {"echo": echo}, log=log, **REDIS) as host:
        assert result_of(await host.run("echo", 7)) == 7
        await backend.state_set("global", "k", b"1")
        assert await backend.state_get("global", "k") == b"1"
        assert cluster.nodes[0].ask("DBSIZE") == 0
        assert cluster.nodes[1].ask("DBSIZE") > 0
        cluster.hand_over()
        [id] = await added(backend, NewJob("echo", b"8"))
        assert result_of(await host.done(id)) == 8
        assert cluster.nodes[0].ask("DBSIZE") > 0


async def test_a_prefix_that_would_scatter_keys_is_refused(cluster: Cluster) -> None:
    """A mistake of the configuration, with what to write."""
    with pytest.raises(ConfigurationError, match=re.escape('write prefix = "{jobs}", here and in all other workers')):
        await RedisBackend(cluster.url, "jobs").open()


async def test_a_node_that_is_gone_is_passed_over(cluster: Cluster, launch: Launch) -> None:
    """Several places in the URL: any that answers tells of the others."""
    dead = launch()
    dead.kill()
    backend = RedisBackend(f"redis://127.0.0.1:{dead.port},{cluster.url.removeprefix('redis://')}", cluster.prefix)
    async with serving(backend, {"echo": echo}, **REDIS) as host:
        assert result_of(await host.run("echo", 1)) == 1
