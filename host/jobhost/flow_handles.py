"""What a producer holds of a flow: wait for its end, follow its events, cancel it, let it go on from the step that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from jobhost_sdk.durations import Duration, milliseconds

from jobhost.errors import BackendUnavailableError, FlowFailedError, FlowNotFoundError
from jobhost.listings import Listing, flow_event_listing, flow_listing, job_listing, value
from jobhost.queues.flows import FlowEvent, FlowInfo
from jobhost.queues.job import Event, Job
from jobhost.queues.seam import Backend
from jobhost.watch import FIRST_LOOK, LONGEST_LOOK

PAGE = 1_000


class FlowHandle:
    """A flow. `created` is False if a flow of this id was there already and was left as it is."""

    def __init__(self, backend: Backend, id: str, created: bool = False) -> None:
        self._backend = backend
        self.id = id
        self.created = created

    async def _info(self) -> FlowInfo:
        flow = await self._backend.flow(self.id)
        if flow is None:
            raise FlowNotFoundError(f"flow {self.id!r} is not there (any more)")
        return flow

    async def info(self) -> Listing:
        """The flow as listings show it. Raises FlowNotFoundError."""
        return flow_listing(await self._info())

    async def jobs(self) -> list[Listing]:
        """Its jobs that are there, in the order they came to it."""
        return [job_listing(job) for job in await self._backend.flow_jobs(self.id)]

    async def children(self) -> list[Listing]:
        """Its sub-flows."""
        return [flow_listing(flow) for flow in await self._backend.flow_children(self.id)]

    # Events --------------------------------------------------------------------------------------------------------

    async def events(self, after: int = 0) -> list[Listing]:
        """What has happened in it, in order; only events above a number."""
        found: list[FlowEvent] = []
        while page := await self._backend.flow_events(self.id, after, PAGE):
            found += page
            after = page[-1].n
        names = await self._names()
        return [flow_event_listing(event, names) for event in found]

    async def _names(self) -> dict[tuple[str, str], str]:
        """The names of its jobs, which step ids are made of."""
        return {(job.queue, job.id): job.name for job in await self._backend.flow_jobs(self.id)}

    async def follow(self, after: int = 0) -> AsyncIterator[Listing]:
        """Yield its events above a number, as they happen, in whichever process; ends with the flow.

        Raises FlowNotFoundError.
        """
        names: dict[tuple[str, str], str] = {}
        async with aclosing(self.news()) as news:
            async for _ in news:
                while True:
                    flow = await self._info()
                    page = await self._backend.flow_events(self.id, after, PAGE)
                    for event in page:
                        after = event.n
                        if event.job_id is not None and (event.queue, event.job_id) not in names:
                            names = await self._names()
                        yield flow_event_listing(event, names)
                    if not page:
                        break
                if flow.status != "running" and after >= flow.events:
                    return

    async def news(self) -> AsyncGenerator[None, None]:
        """Yield once, then whenever something has happened in it, and now and then: an event may be lost."""
        heard = asyncio.Event()

        async def listen() -> None:
            try:
                async with aclosing(self._backend.events(types=("flow",))) as events:  # type: ignore[type-var]
                    async for event in events:
                        if _is_about(event, self.id):
                            heard.set()
            except BackendUnavailableError:
                pass  # whoever looks next learns of it, and its error says so

        listener = asyncio.get_running_loop().create_task(listen())
        pause = FIRST_LOOK
        try:
            yield
            while True:
                try:
                    async with asyncio.timeout(pause):
                        await heard.wait()
                    heard.clear()
                except TimeoutError:
                    pause = min(LONGEST_LOOK, pause * 2)
                yield
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def result(self, timeout: Duration | None = None) -> Listing:
        """Wait until the flow has ended and give it.

        Raises FlowFailedError if it failed or was cancelled, TimeoutError, FlowNotFoundError, BackendUnavailableError.
        """
        async with asyncio.timeout(None if timeout is None else milliseconds(timeout) / 1000):
            async with aclosing(self.news()) as news:
                async for _ in news:
                    flow = await self._info()
                    if flow.status == "completed":
                        return flow_listing(flow)
                    if flow.status != "running":
                        error = value(flow.error)
                        raise FlowFailedError(self.id, error if isinstance(error, dict) else {})
        raise AssertionError("news never end")

    # Steering ------------------------------------------------------------------------------------------------------

    async def cancel(self) -> bool:
        """Let it end as cancelled, with its sub-flows: waiting jobs fail, running ones are told to stop, and nothing they emit
        counts. False if it had ended. Whoever was interrupted may call it again: what is left is cancelled then."""
        flow = await self._info()
        cancelled = await self._backend.cancel_flow(self.id)
        if not cancelled and flow.status != "cancelled":
            return False
        for child in await self._backend.flow_children(self.id):
            await FlowHandle(self._backend, child.id).cancel()
        for job in await self._backend.flow_jobs(self.id):
            if job.state not in ("completed", "failed"):
                await self._backend.cancel(job.queue, job.id)
        return cancelled

    async def restart(self, step: str | None = None) -> list[Listing]:
        """Let its failed jobs, and those of its sub-flows, run again, with all their attempts, or only those of one step; gives them.
        The flow goes on from there: what succeeded is not done again. A cancelled flow runs again too."""
        flow = await self._info()
        failed = [job for job in await self._backend.flow_jobs(self.id) if job.state == "failed"]
        if step is not None:
            steps = await self._steps()
            failed = [job for job in failed if step in (job.name, steps.get((job.queue, job.id)))]
        if failed and flow.status == "cancelled":
            await self._backend.reopen_flow(self.id)
        retried: list[Job] = [job for job in failed if await self._backend.retry(job.queue, job.id)]
        below: list[Listing] = []
        for child in await self._backend.flow_children(self.id):
            if child.status in ("failed", "cancelled"):
                below += await FlowHandle(self._backend, child.id).restart(step)
        return [job_listing(job) for job in retried] + below

    async def _steps(self) -> dict[tuple[str | None, str | None], str | None]:
        """The step of each job that failed."""
        steps: dict[tuple[str | None, str | None], str | None] = {}
        after = 0
        while page := await self._backend.flow_events(self.id, after, PAGE):
            steps |= {(event.queue, event.job_id): event.step for event in page if event.type == "step.failed"}
            after = page[-1].n
        return steps


def _is_about(event: Event, flow: str) -> bool:
    return event.type == "flow" and event.job_id == flow
