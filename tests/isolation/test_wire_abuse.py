"""Children that abuse their wire, for seconds: the host stays answering, its memory stays bounded, and the next child serves on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes import answers, connection

from tests.contract.hosting import PATIENCE, hosted, result_of

from .test_attacks import LEVELS
from .test_levels import bundle

pytestmark = pytest.mark.anyio
ANSWERED = 2.0
"""Seconds within which another bundle's job is done, whatever a child does meanwhile."""
MOST_MEMORY = 64 * 1024 * 1024
"""Bytes by which the host may grow."""

ABUSER = r"""
import os, select, struct, sys, time, msgpack


def around():
    frame = sys._getframe()
    while frame is not None:
        it = frame.f_locals.get("self")
        if hasattr(it, "channel") and hasattr(it, "live"):
            return it.channel, next(iter(it.live))
        frame = frame.f_back


def framed(message):
    body = msgpack.packb(message)
    return struct.pack(">I", len(body)) + body


def call(number, method, **params):
    return framed([0, number, method, params])


def tell(method, **params):
    return framed([2, method, params])


def handler(job, ctx):
    channel, run = around()
    out = channel.fd_out
    os.set_blocking(out, True)

    def send(data):
        while data:
            data = data[os.write(out, data):]

    def line(n, message="x" * 15_000):
        return tell("ctx.logger.log", run=run, level="info", message=message, fields=None, ts=1, source="handler")

    what = job.data
    numbers = iter(range(1_000_000, 2_000_000_000))
    end = time.monotonic() + SECONDS
    if what == "a giant frame":
        send(struct.pack(">I", 15 * 1024 * 1024))
        while time.monotonic() < end:
            send(b"\x00" * 65536)
    elif what == "a truncated frame":
        send(struct.pack(">I", 1000) + b"\x94")
        time.sleep(SECONDS)
    elif what == "a slow writer":
        for byte in call(next(numbers), "ctx.state.get", run=run, key="k" * 900, scope=None):
            send(bytes([byte]))
            time.sleep(SECONDS / 500)
    elif what == "never reads":
        ctx.state.set("large", "x" * 900_000)
        while True:
            for _ in range(100):
                send(call(next(numbers), "ctx.state.get", run=run, key="large", scope=None))
    elif what == "unknown ids":
        while True:
            send(framed([1, next(numbers), None, b"true"]))
    elif what == "reused ids":
        while True:
            send(call(7, "ctx.state.get", run=run, key="k", scope=None))
    elif what == "a flood of calls":
        while True:
            send(b"".join(call(next(numbers), "ctx.state.has", run=run, key="k", scope=None) for _ in range(500)))
    elif what == "a flood of calls that waits":
        while time.monotonic() < end:
            ctx.state.incr("n")
    elif what == "large values":
        value = b'"' + b"x" * 900_000 + b'"'
        for n in range(900):
            send(call(next(numbers), "ctx.state.set", run=run, key=f"k{n % 4}", value=value, ttl=None, scope=None))
    elif what == "log lines":
        while time.monotonic() < end:
            send(b"".join(line(n) for n in range(20)))
    elif what == "progress":
        while time.monotonic() < end:
            send(b"".join(tell("ctx.progress", run=run, value=b'"' + b"x" * 5000 + b'"') for _ in range(50)))
    elif what == "stderr":
        while time.monotonic() < end:
            os.write(2, b"y" * 100_000 + b"\n")
    elif what == "one line of stderr":
        while time.monotonic() < end:
            os.write(2, b"y" * 100_000)
    elif what == "forged tokens":
        while time.monotonic() < end:
            send(tell("ctx.progress", run="%016x" % next(numbers), value=b"1"))
    elif what == "calls for nobody":
        while time.monotonic() < end:
            number = next(numbers)
            send(call(number, "ctx.state.set", run="%016x" % number, key="k", value=b"1", ttl=None, scope=None))
            if select.select([channel.fd_in], [], [], 0)[0]:
                os.read(channel.fd_in, 65536)
    elif what == "answers after cancel":
        while ctx.cancelled is False:
            channel.receive()
            time.sleep(0.01)
        for _ in range(1000):
            send(tell("ctx.progress", run=run, value=b"1"))
        while True:
            time.sleep(1)
    elif what == "a closed wire":
        os.close(out)
        time.sleep(SECONDS)
    if next(numbers) > 1_000_000:
        os._exit(0)  # what it has asked past the SDK is answered yet, and would break its next run
    return "survived"
"""
ECHO = """
def handler(job, ctx):
    return job.data
"""
ABUSES = re.findall(r'what == "([^"]+)"', ABUSER)


def memory(word: str) -> int:
    [found] = re.findall(rf"^{word}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found) * 1024


@pytest.mark.parametrize("level", ["process", *LEVELS])
@pytest.mark.parametrize("abuse", ABUSES)
async def test_the_host_stays_answering(
    abuse: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: each abuse goes on for a second or until the child is killed for it; another bundle's jobs are done meanwhile."""
    monkeypatch.setattr(connection, "HALF_FRAME_AFTER", 0.5)
    monkeypatch.setattr(connection, "STUCK_AFTER", 0.5)
    code = ABUSER.replace("SECONDS", "1.0")
    tables: list[dict[str, Any]] = [
        bundle(tmp_path / "abuser", level, code, "abuser.py", limits={"grace": "100ms"}),
        bundle(tmp_path / "echo", "process", ECHO, "echo.py"),
    ]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    before = memory("VmRSS")
    async with hosted(MemoryBackend(), *tables) as host:
        await host.run("echo", 0)
        id = await host.add("abuser", abuse, attempts=1, timeout_ms=2_500)
        echoed = 0
        while (await host.job(id)).state not in ("completed", "failed"):
            with anyio.fail_after(ANSWERED):
                echoed += 1
                assert result_of(await host.run("echo", echoed)) == echoed
        assert echoed > 0
        job = await host.job(id)
        assert (job.state, job.attempts_made) in {("completed", 1), ("failed", 1)}
        assert memory("VmHWM") - before < MOST_MEMORY
        assert result_of(await host.run("abuser", "nothing", attempts=1)) == "survived"


async def test_calls_beyond_the_rate_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that asks more than its share is slowed down, and not refused: all its calls are answered."""
    monkeypatch.setattr(answers, "CALLS_PER_SECOND", 100)
    monkeypatch.setattr(answers, "CALLS_AT_ONCE", 50)
    code = (
        "def handler(job, ctx):\n    for _ in range(job.data):\n        last = ctx.state.incr('n')\n    return last\n"
    )
    async with hosted(MemoryBackend(), bundle(tmp_path / "b", "process", code)) as host:
        with anyio.fail_after(PATIENCE):
            began = anyio.current_time()
            assert result_of(await host.run("work", 150)) == 150
            assert anyio.current_time() - began > 0.9, "a hundred a second beyond the first fifty"
