"""M2: handlers that require others are served once those are there; what is missing is told, and its jobs wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobhost.config.document import Config
from jobhost.dispatch import required
from jobhost.probe import collect
from jobhost.queues.job import PublishedHandler
from jobhost.queues.seam import Backend

from .functions import Recorder, echo, serving, until
from .hosting import Hosted, result_of

pytestmark = pytest.mark.anyio


def requiring(*names: str) -> Any:
    return echo, {"requires": list(names)}


def problems(host: Hosted) -> list[str]:
    return [problem.error for problem in host.host.catalogue.problems]


async def test_handlers_that_require_each_other_are_served(store: Backend) -> None:
    """M2: circles are fine, and so is a handler that requires itself."""
    functions = {"a": requiring("b", "c"), "b": requiring("a"), "c": echo, "d": requiring("d")}
    async with serving(store, functions) as host:
        assert [result_of(await host.run(name, name)) for name in "abcd"] == ["a", "b", "c", "d"]
        assert problems(host) == []


async def test_what_is_missing_is_told_and_its_jobs_wait_until_it_is_there(store: Backend) -> None:
    """M2: in the log and among the problems; a handler that requires one that is not served is not served either."""
    log = Recorder()
    functions = {"a": requiring("b", "echo"), "z": requiring("a"), "echo": echo}
    async with serving(store, functions, log=log, queues={"default": {"unknown_jobs": "fail"}}) as host:
        await until(lambda: host.host.all_loaded)
        assert host.host.catalogue.names() == ["echo"]
        asked, unknown = await host.add("a", 1), await host.add("nobody's", 2)
        assert result_of(await host.run("echo", 3)) == 3
        # On Redis a job that has no place is delayed by 100 ms.
        assert {(await host.job(id)).state for id in (asked, unknown)} <= {"waiting", "delayed"}
        assert problems(host) == [
            "handler 'a' is not served: it requires 'b', which no bundle here has and no host has published",
            "handler 'z' is not served: it requires 'a', which is not served itself",
        ]
        assert [said["error"] for said in log.of("handler.problem")] == problems(host)
        assert {handler.name for handler in await store.published()} == {"echo"}
        host.host.register(echo, "b")
        assert result_of(await host.done(asked)) == 1
        assert (await host.done(unknown)).state == "failed"
        assert problems(host) == []
        assert host.host.catalogue.names() == ["a", "b", "echo", "z"]


async def test_a_handler_of_another_host_counts(store: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """M2: what is published in the backend is there, also what is published later."""
    monkeypatch.setattr(required, "LOOK_EVERY", 0.02)
    async with serving(store, {"a": requiring("elsewhere")}) as host:
        await until(lambda: bool(problems(host)))
        await store.publish([PublishedHandler("elsewhere", "default", b"{}")])
        assert result_of(await host.run("a", 1)) == 1
        host.host.register(echo, "b", requires=["elsewhere"])
        assert result_of(await host.run("b", 2)) == 2
        assert problems(host) == []


async def test_a_listing_of_the_bundles_leaves_out_what_lacks_something(tmp_path: Path) -> None:
    """M2: `check` and `handlers` tell it as hosts do."""
    (tmp_path / "a.py").write_text("config = {'requires': ['b']}\ndef handler(job): pass\n")
    (tmp_path / "c.py").write_text("config = {'requires': ['a', 'd']}\ndef handler(job): pass\n")
    (tmp_path / "d.py").write_text("def handler(job): pass\n")
    config = Config.model_validate({"bundles": [{"path": tmp_path}]})
    assert (await collect(config)).names() == ["a", "c", "d"]
    catalogue = await collect(config, published=())
    assert catalogue.names() == ["d"]
    told = {Path(problem.file).name: (problem.line, problem.error) for problem in catalogue.problems}
    assert told["a.py"][0] == 2
    assert "'a' is not served: it requires 'b', which" in told["a.py"][1]
    assert "it requires 'a', which is not served itself" in told["c.py"][1]
    assert (await collect(config, published={"b"})).names() == ["a", "c", "d"]
