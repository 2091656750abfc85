"""What a run cost and why it ended: the receipt of each run of a child, the dossier of one that timed out or died."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.seam import Backend
from jobhost_runtimes.bundle import BundleSpec
from jobhost_runtimes.dossier import dossier, split
from jobhost_runtimes.receipts import code_hash

from tests.isolation.test_attacks import NEEDS_BWRAP

from .hosting import bundle, error_of, hosted, make_backend

pytestmark = pytest.mark.anyio
BUSY = """
import time

def handler(job, ctx):
    for n in range(3):
        ctx.state.incr("n")
    began = time.process_time()
    while time.process_time() - began < 0.2:
        sum(range(1000))
    held = bytearray(64 << 20)
    held[::4096] = bytes(len(held[::4096]))
    return "x" * 5000
"""
STUCK = """
import os, signal, sys, threading, time

def deep():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def handler(job, ctx):
    print("one line", file=sys.stderr)
    ctx.state.set("at", 1)
    if job.data == "stuck":
        threading.Thread(target=deep, daemon=True).start()
        deep()
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def receipt_of(job: Any) -> dict[str, Any]:
    assert job.receipt is not None
    found: dict[str, Any] = json.loads(job.receipt)
    return found


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return make_backend(str(request.param), tmp_path)


async def test_a_receipt_says_what_a_run_cost(backend: Backend, tmp_path: Path) -> None:
    """Time, processor, memory, the wire, the child, its code and its level; kept by every backend."""
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "work.py").write_text(BUSY)
    async with hosted(backend, {"path": folder}) as host:
        first, second = receipt_of(await host.run("work")), receipt_of(await host.run("work"))
    assert first["wall_ms"] >= 200
    assert 150 <= first["cpu_ms"] <= first["wall_ms"] + 20
    assert 150 <= second["cpu_ms"] <= second["wall_ms"] + 20, "of this run, not of all before it"
    assert first["memory"] >= 64 << 20
    assert first["calls"] == 3
    assert first["received"] >= 5000
    assert first["sent"] > 0
    assert (first["shared"], first["level"]) == (False, "process")
    assert first["pid"] == second["pid"]
    assert first["start_ms"] > 0
    assert first["code"] == code_hash(BundleSpec("b", folder, "python", files=("work.py",)))


@pytest.mark.parametrize("language", ["python", "node"])
async def test_a_failed_run_has_a_receipt_too(language: str) -> None:
    """Also one that is tried again: the job keeps that of the last run."""
    async with hosted(MemoryBackend(), bundle(language)) as host:
        job = await host.run("die", "exit 3", attempts=2)
        receipt = receipt_of(job)
        assert receipt["wall_ms"] > 0
        assert receipt["level"] == "process"


async def test_a_dossier_says_where_a_run_hung(tmp_path: Path) -> None:
    """Timeout: the stacks of all threads from before the end, the limit, the signal, the last call and the last lines."""
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "work.py").write_text(STUCK)
    async with hosted(MemoryBackend(), {"path": folder, "limits": {"grace": "200ms"}}) as host:
        error = error_of(await host.run("work", "stuck", attempts=1, timeout_ms=700))
    found = error["data"]["dossier"]
    assert error["type"] == "TimeoutError"
    assert found["limit"] == {"name": "timeout", "value_ms": 700}
    assert found["signal"] in ("SIGTERM", "SIGKILL")
    assert found["last_call"] == "ctx.state.set"
    assert sum("in deep" in one for one in found["stacks"]) == 2, "other threads too"
    assert sum("in handler" in one for one in found["stacks"]) == 1


STUCK_NODE = """
module.exports = async (job, ctx) => {
  await ctx.state.set("a", 1);
  setInterval(() => {}, 1000);
  if (job.data === "waits") await new Promise(() => {});
  deep();
};
function deep() {
  for (let n = 0; ; n += 1) if (n < 0) break;
}
"""


@pytest.mark.parametrize("level", ["process", pytest.param("sandbox", marks=NEEDS_BWRAP)])
async def test_a_dossier_says_where_a_node_child_hung(level: str, tmp_path: Path) -> None:
    """The calls of a loop that never lets go, and what a handler waits for that does nothing; of this run, not the one before."""
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "work.js").write_text(STUCK_NODE)
    async with hosted(
        MemoryBackend(), {"path": folder, "limits": {"grace": "400ms"}, "isolation": level, "pool": {"children": 1}}
    ) as host:
        for data, wanted in (("waits", "Timeout"), ("spins", "at deep ("), ("waits", "Timeout")):
            error = error_of(await host.run("work", data, attempts=1, timeout_ms=700))
            [stack] = error["data"]["dossier"]["stacks"]
            assert wanted in stack
            assert stack.startswith("Main thread waits for: ") == (data == "waits")
            if data == "spins":
                assert "work.js:9:" in stack.splitlines()[1], "the line it is in"
                assert "work.js:6:" in stack.splitlines()[2], "who called it"


async def test_a_dossier_says_how_a_child_died(tmp_path: Path) -> None:
    """Signal or exit code, and what it said last."""
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "work.py").write_text(STUCK)
    async with hosted(MemoryBackend(), {"path": folder}) as host:
        found = error_of(await host.run("work", "die", attempts=1))["data"]["dossier"]
    assert (found["signal"], found["last_call"], found["stacks"]) == ("SIGKILL", "ctx.state.set", [])


async def test_a_dossier_of_the_memory_limit() -> None:
    """The limit, and what was reached."""
    table = bundle("python", limits={"memory": "128MiB", "grace": "100ms"})
    async with hosted(MemoryBackend(), table) as host:
        found = error_of(await host.run("eat", attempts=1))["data"]["dossier"]
    assert found["limit"]["name"] == "memory"
    assert found["limit"]["value"] == 128 << 20 <= found["limit"]["reached"]


@pytest.mark.parametrize("language", ["python", "node"])
async def test_processor_time_is_limited(language: str, tmp_path: Path) -> None:
    """G2. A run that spins is killed long before its timeout; one that waits is not; the error names the limit and what was used."""
    folder = tmp_path / "b"
    folder.mkdir()
    if language == "python":
        (folder / "work.py").write_text(
            "import time\ndef handler(job, ctx):\n    while job.data: pass\n    time.sleep(1)\n"
        )
    else:
        text = "module.exports = async (job) => { while (job.data); await new Promise((done) => setTimeout(done, 1000)); };\n"
        (folder / "work.js").write_text(text)
    table = {"path": folder, "limits": {"cpu_time": "500ms"}, "pool": {"children": 1}}
    async with hosted(MemoryBackend(), table) as host:
        error = error_of(await host.run("work", True, attempts=1))
        assert (error["type"], error["origin"]) == ("CpuTimeLimitError", "host")
        limit = error["data"]["dossier"]["limit"]
        assert (limit["name"], limit["value_ms"]) == ("cpu_time", 500)
        assert 500 <= limit["reached_ms"] < 5_000
        assert (await host.run("work", False, attempts=1)).state == "completed"


def test_stacks_are_told_from_other_lines() -> None:
    """What others print between them stays a line."""
    dump = ["Thread 0x02 (most recent call first):", '  File "b.py", line 2 in b', "", "Current thread 0x01 (most recent call first):",
            '  File "a.py", line 9 in a']  # fmt: skip
    stacks, rest = split(["before", *dump, "after"])
    assert [one.splitlines()[1:] for one in stacks] == [['  File "b.py", line 2 in b'], ['  File "a.py", line 9 in a']]
    assert rest == ["before", "after"]


def test_a_dossier_is_bounded() -> None:
    """A child that writes much leaves no more than fits: the newest."""
    found = dossier([f"{n} " + "x" * 1000 for n in range(500)])
    assert 20 < len(found["stderr"]) < 40
    assert found["stderr"][-1].startswith("499 ")
