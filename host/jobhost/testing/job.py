"""A job as tests see it: properties to compare, and assertions that say what was there instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import JobNotFoundError
from ..listings import Listing, iso, job_listing, log_listing, value
from ..queues.flows import is_own_flow
from ..queues.job import Job, State
from ..queues.seam import Cancelled
from .backend import at_once
from .emits import ANY, Emitted, checked

if TYPE_CHECKING:
    from .host import TestHost

STACK = 12
"""Lines of a handler's stack that a failure shows, the last ones."""


class TestJob:
    """A job of a TestHost. Its properties are read anew each time, so that they tell how it is now."""

    __test__ = False  # pytest looks for classes of such names

    def __init__(self, host: TestHost, queue: str, id: str) -> None:
        self._host = host
        self.queue = queue
        self.id = id

    def __repr__(self) -> str:
        return f"<TestJob {self.describe()}>"

    # How it is ----------------------------------------------------------------------------------------------------

    @property
    def job(self) -> Job:
        """As the queue keeps it. Raises JobNotFoundError once it is there no more."""
        found = at_once(self._host.backend.get(self.queue, self.id))
        if found is None:
            raise JobNotFoundError(f"job {self.id!r} of queue {self.queue!r} is not there (any more)")
        return found

    @property
    def info(self) -> Listing:
        """All of it, as `jobhost jobs show --json` gives it."""
        return job_listing(self.job)

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def data(self) -> Any:
        return value(self.job.data)

    @property
    def state(self) -> State:
        """`waiting`, `delayed`, `active`, `completed`, `failed`, …"""
        return self.job.state

    @property
    def result(self) -> Any:
        """What the handler returned. Raises AssertionError, which says what happened instead, if the job has not completed."""
        job = self.job
        if job.state != "completed":
            raise AssertionError(f"the job has no result: {self.describe()}")
        return value(job.result)

    @property
    def error(self) -> Any:
        """The last error, `{type, message, stack, origin, …}`; None if there was none, and once the job has completed."""
        return value(self.job.error)

    @property
    def attempts(self) -> int:
        """Attempts that were used."""
        return self.job.attempts_made

    @property
    def progress(self) -> Any:
        """The last progress; None if there was none."""
        return value(self.job.progress)

    @property
    def logs(self) -> list[Listing]:
        """Log lines: `{ts, level, message, fields, attempt, source}`."""
        return [log_listing(line) for _, line in at_once(self._host.backend.logs(self.queue, self.id, 0))]

    @property
    def emits(self) -> list[Emitted]:
        """What it emitted. A run that fails emits nothing."""
        return [emit for emit in self._host.emits if (emit.queue, emit.job_id) == (self.queue, self.id)]

    @property
    def stored(self) -> dict[str, Any]:
        """What `ctx.state` holds for it: the values of its flow if it is part of one, else its own."""
        job = self.job
        return self._host.stored("flow", job.flow_id) if self._in_flow(job) else self._host.stored("job", self)

    @staticmethod
    def _in_flow(job: Job) -> bool:
        return job.flow_id is not None and not is_own_flow(job)

    # What somebody does with it ---------------------------------------------------------------------------------------

    def cancel(self) -> Cancelled:
        """Cancel it: `cancelled`, or `requested` where it runs, `finished` or `missing`."""
        return at_once(self._host.backend.cancel(self.queue, self.id))

    def retry(self) -> bool:
        """Let it run again with all its attempts; False if it has not finished."""
        return at_once(self._host.backend.retry(self.queue, self.id))

    # What it should be ----------------------------------------------------------------------------------------------

    def assert_completed(self, result: Any = ANY) -> Any:
        """It has completed, with this result if one is given; gives the result."""
        found = self.result
        if result is not ANY and found != result:
            raise AssertionError(f"the job returned {found!r}, not {result!r}: {self.describe()}")
        return found

    def assert_failed(self, type: str | None = None, message: str = "") -> Any:
        """It has failed for good, with an error of this type whose message has this text in it; gives the error."""
        job, error = self.job, self.error
        if job.state != "failed":
            raise AssertionError(f"the job has not failed: {self.describe()}")
        if (type is not None and error["type"] != type) or message not in error["message"]:
            wanted = f"{type or 'any error'} with {message!r}" if message else type
            raise AssertionError(f"the job has failed, but not by {wanted}: {self.describe()}")
        return error

    def assert_logged(self, text: str, level: str | None = None, **fields: Any) -> Listing:
        """A log line has this text in its message, this level, and these fields among its own; gives the first such line."""
        for line in self.logs:
            has = (line["fields"] or {}).items()
            if (
                text in line["message"]
                and level in (None, line["level"])
                and all(item in has for item in fields.items())
            ):
                return line
        wanted = " ".join(
            [*([level] if level else []), repr(text), *(f"{key}={item!r}" for key, item in fields.items())]
        )
        raise AssertionError(f"the job did not log {wanted}: {self.describe()}")

    def assert_emitted(self, trigger: str, payload: Any = ANY) -> Emitted:
        """It emitted this, with this payload if one is given; gives the emit."""
        return checked(self.emits, trigger, payload, f"{self.name} {self.id}")

    # In words -------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """What became of it so far: state, attempts, error with its stack, and its log."""
        try:
            job = self.job
        except JobNotFoundError as error:
            return str(error)
        text = f"{job.name} {job.id} of queue {job.queue} is {job.state}"
        if job.state == "completed":
            text += f" with {value(job.result)!r}"
        if job.attempts_made:
            text += f" after {job.attempts_made} attempt{'s' * (job.attempts_made > 1)}"
        return "\n".join([text + self._why(job), *self._error_lines(), *self._log_lines()])

    def _why(self, job: Job) -> str:
        """Why it is still there."""
        if job.state == "delayed":
            return f", due {iso(job.delay_until)}; it is {iso(self._host.clock())} now: advance() lets time pass"
        if job.state in ("waiting", "prioritized"):
            return "; run_until_idle() lets it run" if not self._host.has_run else f"; {self._host.why_waiting(job)}"
        return ""

    def _error_lines(self) -> Sequence[str]:
        error = self.error
        if not isinstance(error, dict):
            return []
        stack = str(error.get("stack") or "").rstrip().splitlines()[-STACK:]
        return [f"  error: {error.get('type')}: {error.get('message')}", *(f"    {line}" for line in stack)]

    def _log_lines(self) -> Sequence[str]:
        lines = []
        for line in self.logs:
            fields = "".join(f" {key}={item!r}" for key, item in (line["fields"] or {}).items())
            lines.append(f"  log {line['level']}: {line['message']}{fields}")
        return lines
