"""Processes that share a queue file, for the tests beside: `python sqlite_programs.py VERB FILE …`. What is printed is done."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, Keep, Lease, NewJob, Settlement
from jobhost.queues.sqlite import SqliteBackend


def say(*words: object) -> None:
    print(*words, flush=True)


def lease(claim: Claim) -> Lease:
    return Lease(claim.job.queue, claim.job.id, claim.token)


async def churn(backend: SqliteBackend, prefix: str) -> None:
    """Add, claim and settle for ever, and say each thing once it is acknowledged."""

    async def add() -> None:
        for n in range(10**9):
            [added] = await backend.add([NewJob("churn", b'"' + b"x" * 3_000 + b'"', id=f"{prefix}-{n}")])
            say("added", added.id)

    async def settle() -> None:
        while True:
            claims = (await backend.claim("default", 8, Admission(), 60_000, "churn")).claims
            await backend.settle([Settlement(lease(claim), "completed", result=b"1") for claim in claims])
            for claim in claims:
                say("completed", claim.job.id)

    await asyncio.gather(add(), add_state(backend, prefix), settle())


async def add_state(backend: SqliteBackend, prefix: str) -> None:
    while True:
        say("counted", await backend.state_incr(prefix, "n"))


async def work(backend: SqliteBackend, host: str) -> None:
    """Take whatever there is until there is nothing, and say what was run."""
    while claims := (await backend.claim("default", 7, Admission(), 60_000, host)).claims:
        settled = await backend.settle(
            [Settlement(lease(claim), "completed", result=b"1", keep=Keep(count=50)) for claim in claims]
        )
        assert all(settled)
        say(*(claim.job.id for claim in claims))


async def produce(backend: SqliteBackend, count: str) -> None:
    """Add one job after the other."""
    for _ in range(int(count)):
        await backend.add([NewJob("a")])
    say("done")


async def add_when_told(backend: SqliteBackend) -> None:
    """Add a job for each line of input, and say when that was done."""
    say("ready")
    while await asyncio.to_thread(sys.stdin.readline):
        await backend.add([NewJob("a", b"%d" % time.time_ns())])


async def listen(backend: SqliteBackend) -> None:
    """Listen to everything until killed."""
    stop = backend.watch(["default"], lambda queue: None)
    reading = asyncio.ensure_future(anext(aiter(backend.events())))
    await asyncio.sleep(0)
    say("ready", os.getpid())
    await reading
    stop()
    await asyncio.Event().wait()


async def main(verb: str, file: str, *arguments: str) -> None:
    backend = SqliteBackend(file)
    await backend.open()
    programs: dict[str, Callable[..., Coroutine[Any, Any, None]]]
    programs = {"churn": churn, "work": work, "produce": produce, "add": add_when_told, "listen": listen}
    await programs[verb](backend, *arguments)
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
