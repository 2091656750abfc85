"""The producer's client, over every backend: jobs in, results out. The worker here is a loop of claims and settlements."""

import asyncio
import datetime
import json
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from jobhost import Client, JobFailedError, JobNotFoundError, PayloadError
from jobhost.config.document import Config
from jobhost.errors import ConfigurationError
from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, Lease, LogLine, PublishedHandler, Settlement
from jobhost.queues.registry import open_backend
from jobhost.queues.seam import Backend

from tests.postgres_server import fresh_url
from tests.redis_server import fresh_prefix, server_url

Test = Callable[[Client], Awaitable[None]]


def run(scheme: str, tmp_path: Path, test: Test, config: Config | None = None) -> None:
    """Run a test's coroutine with a client of a fresh store, within a limit."""
    url = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    if scheme == "redis":
        url = server_url()
    if scheme == "postgres":
        url = fresh_url()

    async def whole() -> None:
        backend = open_backend(url, tmp_path, fresh_prefix())
        await backend.open()
        try:
            async with asyncio.timeout(20), Client(backend=backend, config=config) as jobs:
                await test(jobs)
        finally:
            await backend.close()

    asyncio.run(whole())


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def claim(backend: Backend, queue: str = "default") -> Claim:
    claimed = await backend.claim(queue, 1, Admission(), 30_000, "host")
    return claimed.claims[0]


async def settle(backend: Backend, claim: Claim, **how: object) -> None:
    lease = Lease(claim.job.queue, claim.job.id, claim.token)
    assert await backend.settle([Settlement(lease, **how)]) == [True]  # type: ignore[arg-type]


def test_enqueue_and_result(scheme: str, tmp_path: Path) -> None:
    """C4, C8: a job's options are stored as said, and its result comes back."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue(
            "image.resize",
            {"width": 80},
            id="a",
            priority=2,
            attempts=4,
            backoff="5s",
            timeout="30s",
            metadata={"by": "me"},
        )
        assert (job.id, job.queue, job.created) == ("a", "default", True)
        listing = await jobs.get("a")
        assert listing["data"] == {"width": 80}
        assert (listing["state"], listing["priority"], listing["max_attempts"]) == ("prioritized", 2, 4)
        assert (listing["timeout"], listing["metadata"]) == ("30s", {"by": "me"})
        waiting = asyncio.create_task(job.result(timeout="10s"))
        await settle(jobs.backend, await claim(jobs.backend), to="completed", result=b'{"ok":true}')
        assert await waiting == {"ok": True}
        assert await job.result() == {"ok": True}

    run(scheme, tmp_path, test)


@pytest.mark.parametrize("result", [b"0", b"false", b'""', b"null", b"[]"])
def test_a_falsy_result_is_a_result(scheme: str, result: bytes, tmp_path: Path) -> None:
    """Trap: a falsy result turned into nothing."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue("n")
        await settle(jobs.backend, await claim(jobs.backend), to="completed", result=result)
        assert await job.result() == json.loads(result)
        assert (await job.info())["result"] == json.loads(result)

    run(scheme, tmp_path, test)


def test_a_failed_job_raises_with_its_error(scheme: str, tmp_path: Path) -> None:
    """C8: JobFailedError carries the error as the job has it, whether it fails before or while one waits."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue("n")
        waiting = asyncio.create_task(job.result())
        error = {"type": "ValueError", "message": "no", "stack": "…", "origin": "handler"}
        claimed = await claim(jobs.backend)
        await settle(jobs.backend, claimed, to="failed", error=json.dumps(error).encode())
        for wait in (waiting, job.result()):
            with pytest.raises(JobFailedError, match="ValueError: no") as caught:
                await wait
            assert caught.value.error == error

    run(scheme, tmp_path, test)


def test_a_result_that_does_not_come_in_time(scheme: str, tmp_path: Path) -> None:
    """C8: TimeoutError, and the job goes on."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue("n")
        with pytest.raises(TimeoutError):
            await job.result(timeout="20ms")
        with pytest.raises(ValueError, match="has no unit"):
            await job.result(timeout=5)  # type: ignore[arg-type]
        assert (await job.info())["state"] == "waiting"

    run(scheme, tmp_path, test)


def test_a_job_that_is_removed_has_no_result(scheme: str, tmp_path: Path) -> None:
    """C8: waiting for a job that is gone ends."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue("n")
        waiting = asyncio.create_task(job.result())
        await asyncio.sleep(0)
        assert await jobs.remove(job.id)
        with pytest.raises(JobNotFoundError):
            await waiting
        with pytest.raises(JobNotFoundError):
            await jobs.get("gone")

    run(scheme, tmp_path, test)


def test_many_wait_at_once(scheme: str, tmp_path: Path) -> None:
    """C8: one client waits for many jobs; each gets its own result."""

    async def test(jobs: Client) -> None:
        handles = await jobs.enqueue_many({"name": "n", "data": number} for number in range(50))
        waiting = [asyncio.create_task(handle.result()) for handle in handles]
        for _ in handles:
            claimed = await claim(jobs.backend)
            await settle(jobs.backend, claimed, to="completed", result=claimed.job.data)
        assert await asyncio.gather(*waiting) == list(range(50))

    run(scheme, tmp_path, test)


def test_progress_until_the_end(scheme: str, tmp_path: Path) -> None:
    """D5: progress is a number or an object, and ends with the job."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue("n")
        seen: list[object] = []
        got = asyncio.Event()

        async def follow() -> None:
            async for value in job.progress():
                seen.append(value)
                got.set()

        following = asyncio.create_task(follow())
        claimed = await claim(jobs.backend)
        lease = Lease("default", job.id, claimed.token)
        for value in (b"10", b'{"step":"b"}'):
            got.clear()
            await jobs.backend.progress([(lease, value)])
            await got.wait()
        await settle(jobs.backend, claimed, to="completed", result=b"1")
        await following
        assert seen == [10, {"step": "b"}]

    run(scheme, tmp_path, test)


def test_bulk_is_one_step(scheme: str, tmp_path: Path) -> None:
    """C4: bulk: a wrong job in the middle leaves none behind."""

    async def test(jobs: Client) -> None:
        now = datetime.datetime.now(datetime.UTC)
        with pytest.raises(PayloadError, match=r"data\.when: datetime is not a JSON value"):
            await jobs.enqueue_many([{"name": "n"}, {"name": "n", "data": {"when": now}}])
        assert (await jobs.list()).jobs == []
        assert await jobs.enqueue_many([]) == []

    run(scheme, tmp_path, test)


def test_a_second_job_of_an_id_is_the_first(scheme: str, tmp_path: Path) -> None:
    """C4: an id names one job."""

    async def test(jobs: Client) -> None:
        first = await jobs.enqueue("n", 1, id="same")
        second = await jobs.enqueue("n", 2, id="same")
        assert (first.created, second.created) == (True, False)
        assert (await second.info())["data"] == 1

    run(scheme, tmp_path, test)


def test_data_that_is_too_large(scheme: str, tmp_path: Path) -> None:
    """H3: the limit and the size are said; a queue's own limit counts."""

    async def test(jobs: Client) -> None:
        with pytest.raises(PayloadError, match=r"2,002 bytes as JSON; queue 'default' takes 1,024 \(max_payload\)"):
            await jobs.enqueue("n", "x" * 2_000)
        await jobs.enqueue("n", "x" * 2_000, queue="large")

    tables = {"defaults": {"max_payload": "1KiB"}, "queues": {"large": {"max_payload": "4KiB"}}}
    run(scheme, tmp_path, test, Config.model_validate({"queue_url": "memory://", **tables}))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"delay": 5}, "has no unit"),
        ({"timeout": "0s"}, "would end every run at once"),
        ({"priority": -1}, "is not a priority"),
        ({"priority": True}, "is not a priority"),
        ({"attempts": 0}, "attempts make no sense"),
        ({"id": ""}, "is not an id"),
        ({"queue": ""}, "must not be empty"),
        ({"backoff": {"type": "fixd"}}, "nearest known: fixed"),
    ],
)
def test_wrong_options(options: dict[str, object], problem: str, tmp_path: Path) -> None:
    """C4, O1: an option that can't be meant is refused before it is stored."""

    async def test(jobs: Client) -> None:
        with pytest.raises(ValueError, match=problem):
            await jobs.enqueue("n", **options)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unknown option 'prio'; known: attempts, "):
            await jobs.enqueue("n", prio=1)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="needs a name"):
            await jobs.enqueue("")
        assert (await jobs.list()).jobs == []

    run("memory", tmp_path, test)


def test_the_queue_is_the_handlers_where_a_host_has_published_it(scheme: str, tmp_path: Path) -> None:
    """A8: a handler's own `queue` is where producers send by default."""

    async def test(jobs: Client) -> None:
        await jobs.backend.publish([PublishedHandler("image.resize", "images", b'{"language":"python"}')])
        assert (await jobs.enqueue("image.resize")).queue == "images"
        assert (await jobs.enqueue("image.resize", queue="other")).queue == "other"
        assert (await jobs.enqueue("else")).queue == "default"
        assert await jobs.handlers() == [{"name": "image.resize", "queue": "images", "language": "python"}]

    run(scheme, tmp_path, test)


def test_looking_and_steering(scheme: str, tmp_path: Path) -> None:
    """C6: counts, failed jobs, retry, cancel, promote, pause, drain, clean, remove."""

    async def test(jobs: Client) -> None:
        later = await jobs.enqueue("n", delay="1h")
        assert await jobs.promote(later.id)
        assert await jobs.cancel(later.id) == "cancelled"
        assert [job["state"] for job in (await jobs.list(states=["failed"])).jobs] == ["failed"]
        assert await jobs.retry(later.id)
        await jobs.pause("default")
        assert [queue["paused"] for queue in await jobs.queues()] == [True]
        await jobs.resume("default")
        assert (await jobs.counts("default"))["waiting"] == 1
        assert await jobs.drain("default") == 1
        await settle(jobs.backend, await _claimed(jobs), to="completed", result=b"1")
        assert await jobs.clean("default", "completed") == 1
        await jobs.enqueue("n")
        assert await jobs.remove_queue("default") == 1

    async def _claimed(jobs: Client) -> Claim:
        await jobs.enqueue("n")
        return await claim(jobs.backend)

    run(scheme, tmp_path, test)


def test_pages(scheme: str, tmp_path: Path) -> None:
    """C2: list: the newest first, page by page, each job once."""

    async def test(jobs: Client) -> None:
        await jobs.enqueue_many({"name": "n", "data": number} for number in range(25))
        seen, cursor = [], None
        while True:
            page = await jobs.list(limit=10, cursor=cursor)
            seen += [job["data"] for job in page.jobs]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == list(range(24, -1, -1))

    run(scheme, tmp_path, test)


def test_logs(scheme: str, tmp_path: Path) -> None:
    """C6: a job's log as listings show it."""

    async def test(jobs: Client) -> None:
        job = await jobs.enqueue("n")
        claimed = await claim(jobs.backend)
        line = LogLine(1_700_000_000_000, "info", "resizing", b'{"width":80}', 1, "handler")
        await jobs.backend.log([(Lease("default", job.id, claimed.token), line)])
        assert await jobs.logs(job.id) == [
            (
                1,
                {
                    "ts": "2023-11-14T22:13:20.000Z",
                    "level": "info",
                    "message": "resizing",
                    "fields": {"width": 80},
                    "attempt": 1,
                    "source": "handler",
                },
            )
        ]

    run(scheme, tmp_path, test)


def test_state_from_outside(scheme: str, tmp_path: Path) -> None:
    """F1: what handlers keep can be read and set; a stored null is told from a missing value."""

    async def test(jobs: Client) -> None:
        await jobs.state.set("global", "a", None)
        await jobs.state.set("global", "b", {"x": 1}, ttl="1h")
        assert await jobs.state.get("global", "a", "missing") is None
        assert await jobs.state.get("global", "c", "missing") == "missing"
        assert await jobs.state.get("global", "b") == {"x": 1}
        assert [key async for key in jobs.state.keys("global")] == ["a", "b"]
        assert await jobs.state.scopes() == ["global"]
        with pytest.raises(PayloadError):
            await jobs.state.set("global", "a", {1, 2})

    run(scheme, tmp_path, test)


def test_memory_says_that_it_works_in_one_process_only() -> None:
    """C3: jobs in memory reach nobody else."""
    with pytest.warns(UserWarning, match="only inside one process"):
        Client("memory://")


def test_a_prefix_needs_redis() -> None:
    """B4: a key prefix that nothing would use is refused, not dropped."""
    with pytest.raises(ConfigurationError, match="Redis"):
        Client("sqlite:///x.db", prefix="mine")


def test_without_a_url_it_finds_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: a producer in the project's folder needs to be told nothing."""
    (tmp_path / "jobhost.toml").write_text('queue_url = "sqlite:///mine.db"')
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        async with Client() as jobs:
            await jobs.enqueue("n")

    asyncio.run(test())
    assert (tmp_path / "mine.db").exists()


def test_importing_the_package_imports_no_host() -> None:
    """D3: names are imported when they are used; wrong ones are errors."""
    import jobhost

    assert "Host" in jobhost.__all__
    with pytest.raises(AttributeError):
        _ = jobhost.Nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jobhost.ConfigurationError is ConfigurationError
