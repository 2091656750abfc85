"""G4: which jobs that wait the schemas of now would refuse, on every store and in every language."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobhost import backlog
from jobhost.backlog import Backlog, check_backlog
from jobhost.config.document import Config
from jobhost.probe import Loaded
from jobhost.queues.job import NewJob
from jobhost.queues.seam import Backend

from .backends import claim
from .test_contracts import RUNTIMES

pytestmark = pytest.mark.anyio
GOOD, BAD = b'{"items": []}', b'{"parts": []}'
KINDS: list[dict[str, Any]] = [{}, {"priority": 3}, {"delay_ms": 3_600_000}]


async def fill(backend: Backend, count: int, data: bytes, **options: Any) -> list[str]:
    """Jobs that wait, in turn plainly, with a priority, and delayed."""
    jobs = [NewJob("quote", data, **KINDS[number % 3], **options) for number in range(count)]
    return [added.id for added in await backend.add(jobs)]


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if "fresh" not in name])
async def test_a_schema_that_refuses_half_the_backlog(backend: Backend, runtime: str) -> None:
    """G4: how many, with the first ids and the field and message; what runs or has ended is not looked at."""
    await backend.add([NewJob("quote", BAD, "active")])
    assert await claim(backend, queue="active")
    good = await fill(backend, 6, GOOD)
    bad = [*await fill(backend, 4, BAD), *await fill(backend, 2, b"[]", queue="other")]
    await backend.add([NewJob("plain", b"1"), NewJob("nobody's", BAD)])
    seen: list[float] = []
    config = Config.model_validate({"bundles": [RUNTIMES[runtime]]})
    async with Loaded(config) as loaded:
        found = await check_backlog(backend, loaded.catalogue, progress=seen.append)
    assert (found.looked, found.checked, found.unchecked, found.unknown) == (14, 12, 1, 1)
    assert (found.ok, found.complete, found.errors, seen[-1]) == (False, True, {}, 100.0)
    [refused] = found.refused.values()
    assert (refused.handler, refused.count) == ("quote", len(good))
    told = {(job.queue, job.id): fields for job, fields in refused.first}
    assert len(told) == 5
    assert {id for _, id in told} <= set(bad)
    for (queue, _), [field] in told.items():
        assert field["field"] == ("" if queue == "other" else "items")
        assert field["message"]
    listing = json.loads(json.dumps(found.listing()))
    assert (listing["refused"], listing["handlers"][0]["name"], listing["checked"]) == (6, "quote", 12)


async def test_what_is_fine_is_fine(backend: Backend) -> None:
    """G4: nothing that waits, and nothing that is refused."""
    config = Config.model_validate({"bundles": [RUNTIMES["in-process"]]})
    async with Loaded(config) as loaded:
        assert (await check_backlog(backend, loaded.catalogue)).ok
        await fill(backend, 3, GOOD)
        found = await check_backlog(backend, loaded.catalogue)
    assert (found.ok, found.checked, found.refused) == (True, 3, {})


async def test_a_backlog_of_many_pages_and_a_limit(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: it pages through, and looks at the newest where there is a limit."""
    monkeypatch.setattr(backlog, "PAGE", 3)
    monkeypatch.setattr(backlog, "BYTES_OF_A_PAGE", 7 * len(BAD))
    old = await fill(backend, 20, BAD)
    new = await fill(backend, 10, BAD)
    config = Config.model_validate({"bundles": [RUNTIMES["in-process"]]})
    seen: list[float] = []
    async with Loaded(config) as loaded:
        whole = await check_backlog(backend, loaded.catalogue, progress=seen.append)
        some = await check_backlog(backend, loaded.catalogue, limit=10)
    assert (whole.looked, whole.refused["quote"].count, whole.complete) == (len(old) + len(new), 30, True)
    assert seen == sorted(seen)
    assert len(seen) >= 5
    assert (some.looked, some.complete) == (10, False)
    assert {job.id for job, _ in some.refused["quote"].first} <= set(new)


async def test_a_check_that_cannot_be_made_is_told(backend: Backend, tmp_path: Any) -> None:
    """G4: a child that dies of a job's data is no pass."""
    (tmp_path / "dies.py").write_text(
        "import os\n"
        "class Model:\n"
        "    @classmethod\n"
        "    def model_validate_json(cls, data): os._exit(3)\n"
        "config = {'input': Model}\n"
        "def handler(job): pass\n"
    )
    await backend.add([NewJob("dies", b"1"), NewJob("dies", b"2")])
    config = Config.model_validate({"bundles": [{"path": tmp_path}]})
    async with Loaded(config) as loaded:
        found: Backlog = await check_backlog(backend, loaded.catalogue)
    assert (found.ok, found.checked, list(found.errors)) == (False, 0, ["dies"])
