"""The pinned package's scripts take the keys and arguments that our calls give: a release that changes them fails here."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from bullmq.scripts import Scripts
from jobhost.queues.admission import Admission
from jobhost.queues.job import Job, Lease, NewJob, Settlement
from jobhost.queues.redis import claiming, looking, scripts, settling, steering
from jobhost.queues.redis.address import parse_url
from jobhost.queues.redis.client import Client
from jobhost.queues.redis.jobs import adding_args, adding_keys, script_of
from jobhost.queues.redis.keys import Keys
from jobhost.queues.redis.store import Held, Store

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000_000
LEASE = Lease("q", "7", "token")


class Recording(Store):
    """A store that sends nothing and keeps what it was asked to run."""

    def __init__(self) -> None:
        super().__init__(Client(parse_url("redis://nowhere"), "bull"), "bull", lambda: NOW, "handle")
        self.ran: list[tuple[str, list[str], list[Any]]] = []
        job = Job("7", "q", "n", b"1", "active", 0, NOW)
        self.held[LEASE] = Held(job, {b"opts": b"{}"}, b"1")

    async def run_all(self, calls: Sequence[Any]) -> list[Any]:
        self.ran += [(script.name, list(keys), list(args)) for script, keys, args in calls]
        return [
            {"moveToActive": [0, 0, 0, 0], "cleanJobsInSet": [], "getCounts": [0] * 8, "holds": 1}.get(call[0].name, 0)
            for call in calls
        ]

    def of(self, name: str) -> tuple[list[str], list[Any]]:
        """Keys and arguments of the only call of a script."""
        [(keys, args)] = [(keys, args) for ran, keys, args in self.ran if ran == name]
        return keys, args


class Theirs:
    """The package's own calls, recorded the same way."""

    def __init__(self) -> None:
        self.ran: dict[str, tuple[list[str], list[Any]]] = {}
        connection = SimpleNamespace(conn=None, commands=self, getRedisVersion=self._version)
        self.scripts = Scripts("bull", "q", connection)

    async def _version(self) -> str:
        return "7.2.0"

    def __getitem__(self, name: str) -> Any:
        async def call(keys: list[str], args: Sequence[Any] = (), client: object = None) -> Any:
            self.ran[name] = (list(keys), list(args))
            return 0

        return call


@pytest.fixture
def theirs() -> Theirs:
    return Theirs()


@pytest.fixture
def ours() -> Recording:
    return Recording()


def alike(mine: tuple[list[str], list[Any]], theirs: tuple[list[str], list[Any]], differ: Sequence[int] = ()) -> None:
    """The same keys, and the same arguments but for those at `differ`, whose kind has to be the same."""
    assert mine[0] == theirs[0]
    assert len(mine[1]) == len(theirs[1])
    for index, (one, other) in enumerate(zip(mine[1], theirs[1], strict=True)):
        if index not in differ:
            assert _plain(one) == _plain(other), f"argument {index + 1}"


def _plain(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def members(packed: bytes) -> set[str]:
    return set(msgpack.unpackb(packed))


def test_the_package_is_the_pinned_one() -> None:
    """Keys and arguments change between its releases."""
    assert importlib.metadata.version("bullmq") == scripts.PINNED
    needed = [line for line in importlib.metadata.requires("jobhost") or () if line.startswith("bullmq")]
    assert needed
    assert all(line.startswith(f"bullmq=={scripts.PINNED}") for line in needed)


async def test_claims(ours: Recording, theirs: Theirs) -> None:
    await claiming.claim(ours, "q", 1, Admission(), 30_000, "host")
    await theirs.scripts.moveToActive("token", {"lockDuration": 30_000})
    mine, other = ours.of("moveToActive"), theirs.ran["moveToActive"]
    alike(mine, other, differ=(1, 2))
    assert members(mine[1][2]) == {"token", "lockDuration", "name"}
    assert members(mine[1][2]) - members(other[1][2]) == {"name"}, "the worker's name is what Node gives beside"


async def test_renewals(ours: Recording, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_failed(script: Any, keys: Any, args: Any) -> Any:
        ours.ran.append((script.name, list(keys), list(args)))
        return []

    async def none_asked(*command: Any) -> Any:
        return [None]

    monkeypatch.setattr(ours, "run", nothing_failed)
    monkeypatch.setattr(ours.client, "call", none_asked)
    await claiming.renew(ours, [LEASE], 30_000)
    await theirs.scripts.extendJobLocks(["7"], ["token"], 30_000)
    alike(ours.of("extendLocks"), theirs.ran["extendLocks"])


@pytest.mark.parametrize("target", ["completed", "failed"])
async def test_ends(ours: Recording, theirs: Theirs, target: str) -> None:
    error = b'{"message":"no luck","stack":"s"}' if target == "failed" else None
    settlement = Settlement(LEASE, target, result=b"1", error=error)  # type: ignore[arg-type]
    script, keys, args = settling.ending(ours, settlement, NOW)
    job = SimpleNamespace(
        id="7", attempts=1, attemptsMade=0, opts={}, queue=SimpleNamespace(opts={"lockDuration": 0, "limiter": None})
    )
    fields = {"a": "b"} if target == "failed" else None
    value, name = (1, "returnvalue") if target == "completed" else ("no luck", "failedReason")
    theirs_keys, theirs_args = theirs.scripts.moveToFinishedArgs(job, value, name, None, target, "token", False, fields)
    assert script.name == "moveToFinished"
    alike((list(keys), list(args)), (theirs_keys, theirs_args), differ=(1, 7, 8))
    assert members(args[7]) == members(theirs_args[7])  # type: ignore[arg-type]


async def test_returns(ours: Recording, theirs: Theirs) -> None:
    script, keys, args = settling.ending(ours, Settlement(LEASE, "delayed", delay_ms=5, attempt_used=False), NOW)
    assert script.name == "moveToDelayed"
    wanted = theirs.scripts.moveToDelayedArgs("7", NOW, "token", 5, {"skipAttempt": True})
    alike((list(keys), list(args)), wanted)
    script, keys, args = settling.ending(ours, Settlement(LEASE, "waiting", error=b'{"message":"x"}'), NOW)
    assert script.name == "retryJob"
    wanted = theirs.scripts.retryJobArgs("7", False, "token", {"fieldsToUpdate": {"a": "b"}})
    alike((list(keys), list(args)), wanted, differ=(1, 5))


async def test_stalled_jobs(ours: Recording, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_found(script: Any, keys: Any, args: Any) -> Any:
        ours.ran.append((script.name, list(keys), list(args)))
        return []

    async def gone(*command: Any) -> Any:
        return 0

    monkeypatch.setattr(ours, "run", none_found)
    monkeypatch.setattr(ours.client, "call", gone)
    await claiming.recover(ours, "q", 3)
    await theirs.scripts.moveStalledJobsToWait(3, 1)
    name, keys, args = ours.ran[0]
    assert name == "moveStalledJobsToWait"
    alike((keys, args), theirs.ran[name], differ=(2,))


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "addStandardJob"), ({"priority": 3}, "addPrioritizedJob"), ({"delay_ms": 5}, "addDelayedJob")],
)
async def test_adding(theirs: Theirs, options: dict[str, int], name: str) -> None:
    new = NewJob("n", b'{"a":1}', "q", **options)  # type: ignore[arg-type]
    assert script_of(new) == name
    keys = Keys("bull", "q")
    opts = {"attempts": 0, **{key.removesuffix("_ms"): value for key, value in options.items()}}
    job = SimpleNamespace(
        data={"a": 1},
        opts=opts,
        parent=None,
        parentKey=None,
        deduplication_id=None,
        id=None,
        name="n",
        timestamp=NOW,
        repeatJobKey=None,
    )
    await theirs.scripts.addJob(job)
    theirs_keys, theirs_args = theirs.ran[name]
    mine = adding_args(keys, new, NOW)
    assert adding_keys(keys, name) == theirs_keys
    assert mine[-1] == b"", "ours, which no other field of the job may be taken for"
    assert [msgpack.unpackb(mine[0]), mine[1], msgpack.unpackb(mine[2])] == [
        msgpack.unpackb(theirs_args[0]),
        theirs_args[1].encode(),
        msgpack.unpackb(theirs_args[2]),
    ]
    assert len(mine) == len(theirs_args) + 1
    assert scripts.adding(name).keys == len(theirs_keys)


async def test_the_rest(ours: Recording, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Job("7", "q", "n", b"1", "failed", 0, NOW)

    async def found(*_: Any) -> Job:
        return there

    async def counted(*_: Any) -> dict[str, int]:
        return dict.fromkeys(("waiting", "prioritized", "delayed", "active"), 0)

    async def quiet(*command: Any) -> Any:
        return [b"0", []] if command[0] == "SCAN" else []

    monkeypatch.setattr(looking, "get", found)
    await looking.counts(ours, "q")
    monkeypatch.setattr(looking, "counts", counted)
    monkeypatch.setattr(ours.client, "calls", quiet)
    monkeypatch.setattr(ours.client, "call", quiet)
    await settling.progress(ours, [(LEASE, b"5")])
    await steering.pause(ours, "q", True)
    await steering.promote(ours, "q", "7")
    await steering.retry(ours, "q", "7")
    await steering.drain(ours, "q", True)
    await steering.clean(ours, "q", "failed", 0, 0)
    await steering.remove_queue(ours, "elsewhere")
    mine = theirs.scripts
    await asyncio.gather(
        mine.updateProgress("7", 5),
        mine.pause(True),
        mine.promote("7"),
        mine.reprocessJob(SimpleNamespace(id="7", opts={}), "failed", {"resetAttemptsMade": True}),
        mine.drain(True),
        mine.cleanJobsInSet("failed", 0, 1000),
        mine.getCounts([*looking.COUNTED, "paused"]),
    )
    for name in ("updateProgress", "drain", "getCounts", "reprocessJob"):
        alike(ours.of(name), theirs.ran[name])
    alike(ours.of("cleanJobsInSet"), theirs.ran["cleanJobsInSet"], differ=(1,))
    assert [name for name, _, _ in ours.ran].count("pause") == 2
    alike(next((keys, args) for name, keys, args in ours.ran if name == "pause"), theirs.ran["pause"])
    # The package gives more keys than the script asks for.
    keys, args = ours.of("promote")
    assert keys == theirs.ran["promote"][0][: scripts.bullmq("promote").keys]
    assert args == theirs.ran["promote"][1]


async def test_every_call_gives_as_many_keys_as_its_script_takes(ours: Recording) -> None:
    """The number is in the file's name; a release that changes it fails here even where the package's own call is wrong."""
    await claiming.claim(ours, "q", 1, Admission(), 30_000, "host")
    endings = [
        Settlement(LEASE, "completed", result=b"1"),
        Settlement(LEASE, "delayed", delay_ms=5),
        Settlement(LEASE, "waiting"),
        Settlement(LEASE, "waiting", attempt_used=False),
    ]
    ours.ran += [
        (script.name, list(keys), list(args))
        for script, keys, args in (settling.ending(ours, one, NOW) for one in endings)
    ]
    await steering.pause(ours, "q", False)
    await steering.promote(ours, "q", "7")
    for name, keys, _ in ours.ran:
        assert len(keys) == scripts.bullmq(name).keys, name
    assert {name for name, _, _ in ours.ran} >= {"moveToActive", "moveToFinished", "moveJobFromActiveToWait"}


def test_a_script_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our field of a new job is written by a line put into BullMQ's script: where there is no place for it, that is said."""
    from jobhost.errors import ConfigurationError

    changed = scripts.Script("addStandardJob", "return redis.call('PING')", 9, "sha")
    monkeypatch.setattr(scripts, "bullmq", lambda name: changed)
    with pytest.raises(ConfigurationError, match=r"not the one of release .*: install 'jobhost\[redis\]' anew"):
        scripts.adding.__wrapped__("addStandardJob")
