"""Enqueues, waits, and looks at what came of it."""

from __future__ import annotations

from typing import Any

from jobhost import Client, JobFailedError


async def resize_all(widths: list[int]) -> list[Any]:
    async with Client("sqlite:///jobs.db") as jobs:
        first = await jobs.enqueue("image.resize", {"width": 80}, delay="5s", attempts=3)
        identity: str = first.id
        handles = [await jobs.enqueue("image.resize", {"width": width}, queue="images") for width in widths]
        try:
            return [identity, *[await handle.result(timeout="30s") for handle in handles]]
        except JobFailedError as error:
            return [str(error)]
