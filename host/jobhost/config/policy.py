"""How often, how far apart and how long one job is tried.

Order: the job's own > `[handlers.X]` > the handler's code > `[queues.Q]` > `[defaults]` > built-in. All but the job's own
is the same for every job of a handler and queue: a host settles `handler_policy` once and puts each job over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobhost.queues.job import Job

from .handlers import HandlerOptions, handler_options
from .queues import queue_settings
from .retry import Backoff, RetryRule, own_backoff

if TYPE_CHECKING:
    from .document import Config


@dataclass(slots=True, frozen=True)
class Policy:
    """`timeout` in milliseconds, 0 for none; `attempts` counts the first one too. `rules`: what holds for some errors, by the name of
    their class, whatever job, handler and queue say: what an error means does not depend on them."""

    attempts: int
    backoff: Backoff
    timeout: int
    rules: Mapping[str, RetryRule] | None = None


def handler_policy(name: str, queue: str, code: HandlerOptions | None, config: Config) -> Policy:
    """What holds for jobs of this name in this queue that ask for nothing themselves.

    `code`: what the handler's code declares; it counts as `[handlers."*"]` does where it serves every name.
    """
    settings = queue_settings(config, queue)
    options = handler_options(name if name in config.handlers or code is None else code.name or name, code, config)
    backoff = settings.backoff
    if options.backoff is not None:
        backoff = backoff.over(options.backoff.type, options.backoff.delay, options.backoff.jitter)
    return Policy(
        settings.attempts if options.attempts is None else options.attempts,
        backoff,
        settings.timeout if options.timeout is None else options.timeout,
        options.retry,
    )


def put_job_over(policy: Policy, job: Job) -> Policy:
    """The policy with the job's own options put over it."""
    if job.max_attempts is None and job.backoff is None and job.timeout_ms is None:
        return policy
    return Policy(
        policy.attempts if job.max_attempts is None else job.max_attempts,
        policy.backoff if job.backoff is None else own_backoff(policy.backoff, job.backoff),
        policy.timeout if job.timeout_ms is None else job.timeout_ms,
        policy.rules,
    )


def job_policy(job: Job, code: HandlerOptions | None, config: Config) -> Policy:
    """What holds for one job, every layer considered."""
    return put_job_over(handler_policy(job.name, job.queue, code, config), job)
