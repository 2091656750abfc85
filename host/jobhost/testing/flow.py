"""A flow as tests see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import FlowNotFoundError
from ..listings import Listing, flow_event_listing
from ..queues.flows import FlowInfo, FlowStatus
from .backend import at_once
from .job import TestJob

if TYPE_CHECKING:
    from .host import TestHost


class TestFlow:
    """A flow of a TestHost. Its properties are read anew each time."""

    __test__ = False  # pytest looks for classes of such names

    def __init__(self, host: TestHost, id: str) -> None:
        self._host = host
        self.id = id

    def __repr__(self) -> str:
        return f"<TestFlow {self.describe()}>"

    @property
    def info(self) -> FlowInfo:
        """As the store keeps it. Raises FlowNotFoundError."""
        found = at_once(self._host.backend.flow(self.id))
        if found is None:
            raise FlowNotFoundError(f"flow {self.id!r} is not there (any more)")
        return found

    @property
    def status(self) -> FlowStatus:
        """`running`, `completed`, `failed` or `cancelled`."""
        return self.info.status

    @property
    def jobs(self) -> list[TestJob]:
        """Its jobs, in the order they came."""
        jobs = at_once(self._host.backend.flow_jobs(self.id))
        return [TestJob(self._host, job.queue, job.id) for job in jobs]

    @property
    def events(self) -> list[Listing]:
        """What happened in it, as `jobhost flow timeline --json` gives it."""
        names = {(job.queue, job.id): job.name for job in self.jobs}
        return [flow_event_listing(event, names) for event in at_once(self._host.backend.flow_events(self.id))]

    @property
    def stored(self) -> dict[str, Any]:
        """What `ctx.state` holds for its steps."""
        return self._host.stored("flow", self.id)

    def job(self, name: str) -> TestJob:
        """Its first job of this name. Raises AssertionError, which names those there are."""
        for job in self.jobs:
            if job.name == name:
                return job
        raise AssertionError(f"the flow has no job {name}: {self.describe()}")

    def assert_completed(self) -> None:
        """It has ended well."""
        if self.status != "completed":
            raise AssertionError(f"the flow has not completed: {self.describe()}")

    def assert_failed(self) -> None:
        """It has ended with a failure that counts."""
        if self.status != "failed":
            raise AssertionError(f"the flow has not failed: {self.describe()}")

    def describe(self) -> str:
        """What became of it so far, and of each of its jobs."""
        info = self.info
        return "\n".join([f"{info.name} {info.id} is {info.status}", *(job.describe() for job in self.jobs)])
