"""Versions of handlers, through whole hosts: a job may ask for one; a host without it leaves the job to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobhost import Client, versions
from jobhost.dispatch.outcomes import unknown_job
from jobhost.errors import ConfigurationError, UnknownJobTypeError
from jobhost.queues.job import Lease
from jobhost.queues.seam import Backend

from .functions import serving
from .hosting import hosted, make_backend, result_of

pytestmark = pytest.mark.anyio


def answers(text: str) -> Any:
    def handler(job: Any, ctx: Any) -> str:
        return text

    return handler


VERSIONS = ("2.1.0", "1.0.0", "10.0.0", "2.0.5")


@pytest.fixture
def bundles(tmp_path: Path) -> list[dict[str, Any]]:
    """A bundle for each version of one handler, not in their order."""
    made = []
    for version in VERSIONS:
        folder = tmp_path / version
        folder.mkdir()
        code = f'config = {{"version": "{version}"}}\n\n\ndef handler(job, ctx):\n    return "{version}"\n'
        (folder / "resize.py").write_text(code)
        made.append({"path": folder, "isolation": "none"})
    return made


async def test_a_job_may_ask_for_a_version(store: Backend, bundles: list[dict[str, Any]]) -> None:
    """M2: versions of a handler side by side in one host; a job gets the newest that fits what it asks for."""
    async with hosted(store, *bundles) as host:
        asked = {"resize": "10.0.0", "resize@2": "2.1.0", "resize@2.0": "2.0.5", "resize@1.0.0": "1.0.0"}
        for name, version in asked.items():
            assert result_of(await host.run(name)) == version
        assert not host.host.catalogue.conflicts
        [told] = [one for one in await store.published() if one.name == "resize"]
        assert b'"version": "10.0.0"' in told.info


async def test_a_version_that_is_not_here_is_left_to_others(store: Backend, bundles: list[dict[str, Any]]) -> None:
    """M2: no attempt is used, whatever is said of unknown jobs, and the error names the versions that are here."""
    async with hosted(store, *bundles) as host:
        id = await host.add("resize@3")
        job = await host.until(id, lambda job: job.state == "delayed" and job.released == 1)
        assert job.attempts_made == 0
        job.released = 20
        error = {"type": "UnknownJobTypeError", "message": ""}
        worker = host.host.workers["default"]
        decided = unknown_job(error, job, Lease("default", id, "t"), worker.settings, other_version=True)
        assert decided.to == "failed"
        told = str(UnknownJobTypeError("resize@3", ["resize"], host.host.catalogue.versions("resize")))
        assert told == "'resize@3' asks for a version that is not here; here: 1.0.0, 2.0.5, 2.1.0, 10.0.0"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_hosts_with_different_versions_share_a_queue(kind: str, tmp_path: Path) -> None:
    """M2, Bad input: two hosts with different versions of one handler: each job comes to the one that has it."""
    first, second = make_backend(kind, tmp_path), make_backend(kind, tmp_path)
    old = {"resize": (answers("old"), {"version": "1.4.0"})}
    new = {"resize": (answers("new"), {"version": "2.0.0"})}
    async with serving(first, old) as host, serving(second, new), Client(backend=first) as jobs:
        ids = [(await jobs.enqueue("resize", version=version)).id for version in ("1", "2", "2.0.0", "1.4")]
        done = [result_of(await host.done(id)) for id in ids]
        assert done == ["old", "new", "new", "old"]
        job = await host.job(ids[1])
        assert job.attempts_made == 1


async def test_two_handlers_of_one_version_are_a_conflict(store: Backend, bundles: list[dict[str, Any]]) -> None:
    """A4: two handlers of one name and version."""
    code = Path(bundles[0]["path"], "resize.py")
    code.write_text(code.read_text().replace("2.1.0", "1.0.0"))
    with pytest.raises(ConfigurationError, match=r"two handlers are named 'resize'.* or give them different versions"):
        async with hosted(store, *bundles):
            raise AssertionError("it started")


async def test_settings_of_the_file_are_for_every_version(store: Backend, bundles: list[dict[str, Any]]) -> None:
    """M2: `[handlers."resize"]` is about all versions of a name."""
    async with hosted(store, *bundles, handlers={"resize": {"timeout": "7s"}}) as host:
        for name in ("resize", "resize@1"):
            plan = host.host.workers["default"]._plan(name)
            assert plan is not None
            assert plan[1].timeout == 7_000


@pytest.mark.parametrize(
    ("name", "parts"),
    [("a", ("a", None)), ("a@2", ("a", "2")), ("a@b@2.1", ("a@b", "2.1")), ("@2", ("@2", None)), ("a@", ("a@", None))],
)
def test_a_name_is_split_at_its_last_mark(name: str, parts: tuple[str, str | None]) -> None:
    assert versions.split(name) == parts


def test_versions_sort_as_people_do() -> None:
    mixed = ["1.10.0", "1.9.0", "2.0.0-rc", "2.0.0", "1.9"]
    assert sorted(mixed, key=versions.order) == ["1.9", "1.9.0", "1.10.0", "2.0.0", "2.0.0-rc"]
