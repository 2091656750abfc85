"""Payloads that are not what they should be, stored by whatever producer: one job fails and says why, the next one runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend

from tests.contract.hosting import bundle, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
RUNTIMES = {
    "in-process": bundle("python", isolation="none"),
    "python": bundle("python"),
    "node": bundle("node"),
}
UNREADABLE = {
    "no JSON": b"{nope",
    "nothing": b"",
    "half": b'{"a": [1, 2',
    "two values": b"1 2",
    "NaN": b"NaN",
    "NaN inside": b'{"a": [NaN]}',
    "Infinity": b"-Infinity",
    "no UTF-8": b'"\xff"',
    "a control character": b'"\n"',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf1",
}
UNSENDABLE = {
    "a lone surrogate": (b'"\\ud800"', "a lone surrogate is not a JSON value"),
    "beyond all floats": (b"1e999", "not a JSON value"),
    "201 levels": (b"[" * 201 + b"]" * 201, "nests over 200 deep"),
}


@pytest.mark.parametrize("runtime", list(RUNTIMES))
async def test_data_that_no_handler_can_read_fails_at_once(runtime: str) -> None:
    """G4, O1. Fault: payloads that are not JSON. The same error from every language; no retry, the child serves on."""
    async with hosted(MemoryBackend(), RUNTIMES[runtime]) as host:
        for what, data in UNREADABLE.items():
            [added] = await host.backend.add([NewJob("echo", data, attempts=3)])
            job = await host.done(added.id)
            error = error_of(job)
            assert (job.state, job.attempts_made, error["type"]) == ("failed", 1, "InvalidJobDataError"), what
            assert error["message"].startswith("the data of the job cannot be read: "), what
        assert result_of(await host.run("echo", "fine")) == "fine"


@pytest.mark.parametrize("runtime", list(RUNTIMES))
async def test_a_result_that_other_languages_could_not_read_fails(runtime: str) -> None:
    """O1. Fault: values at the edge of JSON come in, and may not go out."""
    async with hosted(MemoryBackend(), RUNTIMES[runtime]) as host:
        for what, (data, said) in UNSENDABLE.items():
            [added] = await host.backend.add([NewJob("echo", data, attempts=3)])
            error = error_of(await host.done(added.id))
            assert error["type"] == "InvalidValueError", what
            assert said in error["message"], what
        [added] = await host.backend.add([NewJob("echo", b"[" * 200 + b"]" * 200)])
        assert (await host.done(added.id)).result == b"[" * 200 + b"]" * 200


@pytest.mark.parametrize("runtime", list(RUNTIMES))
async def test_a_bomb_of_brackets_hurts_nobody(runtime: str) -> None:
    """Fault: deeply nested payloads, of half a million levels; the host never builds what is in them."""
    async with hosted(MemoryBackend(), RUNTIMES[runtime]) as host:
        [added] = await host.backend.add([NewJob("echo", b"[" * 500_000 + b"]" * 500_000, attempts=1)])
        job = await host.done(added.id)
        assert (job.state, job.attempts_made) == ("failed", 1)
        assert error_of(job)["type"] in ("InvalidJobDataError", "InvalidValueError")
        assert "deep" in error_of(job)["message"]
        assert result_of(await host.run("echo", "fine")) == "fine"


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
@pytest.mark.parametrize("runtime", ["python", "node"])
async def test_data_that_does_not_fit_into_a_frame(kind: str, runtime: str, tmp_path: Path) -> None:
    """Fault: too large, by a producer that nobody stopped. The run fails and says the limit; the child is not blamed."""
    async with hosted(make_backend(kind, tmp_path), RUNTIMES[runtime]) as host:
        [added] = await host.backend.add([NewJob("echo", json.dumps("x" * 17 * 1024 * 1024).encode(), attempts=2)])
        job = await host.done(added.id)
        error = error_of(job)
        assert (job.state, error["origin"]) == ("failed", "host")
        assert "frame" in error["message"]
        assert "16777216" in error["message"].replace(",", "").replace("_", "")
        assert result_of(await host.run("echo", "fine")) == "fine"


@pytest.mark.parametrize("runtime", list(RUNTIMES))
async def test_a_megabyte_passes_through(runtime: str) -> None:
    """What the built-in limit allows arrives whole, both ways."""
    data: Any = {"text": "ä" * 500_000, "n": list(range(1000))}
    async with hosted(MemoryBackend(), RUNTIMES[runtime]) as host:
        assert result_of(await host.run("echo", data)) == data
