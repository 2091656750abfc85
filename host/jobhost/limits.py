"""What a configuration says of limits over all hosts, as a claim takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .config.document import Config
from .config.queues import QueueSettings, RateLimit, queue_settings
from .queues.job import Rate
from .queues.limits import Limits, NameLimit

if TYPE_CHECKING:
    from .catalogue import Entry


def limits_of(queue: QueueSettings, entries: Sequence[Entry], config: Config) -> Limits | None:
    """The limits of a queue and its handlers; None if there are none, and on Redis where the queue has workers of BullMQ's too."""
    if _is_redis(config) and not queue.exclusive:
        return None
    names = {
        entry.name: limit
        for entry in entries
        if entry.name != "*" and queue.serves(entry.name) and (limit := _limit(entry)) is not None
    }
    if not names and queue.global_concurrency is None:
        # Of a queue that is jobhost's alone all claims are of one kind: what one leaves another would not find.
        return Limits() if _is_redis(config) else None
    return Limits(queue.global_concurrency, names)


def _limit(entry: Entry) -> NameLimit | None:
    settings = entry.settings
    per_key = settings.per_key
    if settings.key is None and settings.rate_limit is None and settings.global_concurrency is None:
        return None
    return NameLimit(
        settings.global_concurrency,
        _rate(settings.rate_limit),
        settings.key is not None,
        per_key.concurrency if per_key is not None else None,
        _rate(per_key.rate_limit) if per_key is not None else None,
    )


def _rate(limit: RateLimit | None) -> Rate | None:
    return None if limit is None else Rate(limit.max, limit.every)


def unkept(entry: Entry, config: Config) -> str | None:
    """Why limits that a handler asks for could not be kept; None if they can."""
    settings = entry.settings
    if settings.per_key is not None and settings.key is None:
        return 'per_key needs a key, such as key = "data.customer_id"'
    if _limit(entry) is None or not _is_redis(config) or queue_settings(config, entry.queue).exclusive:
        return None
    return (
        "key, rate_limit and global_concurrency of a handler need a queue that is jobhost's alone on Redis: "
        f"exclusive = true in [queues.{entry.queue}]"
    )


def _is_redis(config: Config) -> bool:
    return config.queue_url.startswith(("redis://", "rediss://"))
