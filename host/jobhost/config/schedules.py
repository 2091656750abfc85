"""`[schedules.NAME]`: jobs that come by the clock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobhost.queues.schedules import CATCH_UPS, OVERLAPS, Schedule, checked

from . import units
from .schema import Table, key, table

if TYPE_CHECKING:
    from .document import Config


def _moment(value: object) -> int:
    """Unix ms of a date and time; TOML has them without quotes."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no date and time: write 2026-12-31T23:00:00+01:00") from None
    if not isinstance(value, datetime):
        raise ValueError(f"should be a date and time, not {units.shown(value)}")
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} could be anywhere: write its offset, such as {value.isoformat()}Z")
    return int(value.astimezone(UTC).timestamp() * 1000)


def _data(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"is no JSON value: {error}") from error


@table
class ScheduleTable(Table):
    """One schedule. `job`: the handler's name, by default the schedule's own. `every`, `jitter` and `timeout` in milliseconds, `at` in Unix
    milliseconds, `data` as JSON."""

    job: str | None = key(units.name, default=None)
    queue: str | None = key(units.name, default=None)
    data: str = key(_data, default="null")
    cron: str | None = key(units.name, default=None)
    tz: str | None = key(units.name, default=None)
    every: int | None = key(units.span, default=None)
    at: int | None = key(_moment, default=None)
    overlap: Literal["allow", "skip", "replace"] = key(units.one_of(*OVERLAPS), default="allow")
    catch_up: Literal["one", "all", "none"] = key(units.one_of(*CATCH_UPS), default="one")
    jitter: int = key(units.delay, default=0)
    priority: int = key(units.whole(0), default=0)
    attempts: int | None = key(units.count, default=None)
    timeout: int | None = key(units.timeout, default=None)
    paused: bool = key(units.flag, default=False)
    bullmq: bool = key(units.flag, default=False)

    @classmethod
    def between(cls, written: Mapping[str, Any]) -> Iterator[str]:
        """What is due when has to be said once, and right."""
        every = written.get("every")
        try:
            every_ms = units.span(every) if every is not None else None
            at = _moment(written["at"]) if written.get("at") is not None else None
        except ValueError:
            return  # said where it stands
        try:
            times = Schedule("-", "-", cron=written.get("cron"), tz=written.get("tz"), every_ms=every_ms, at=at)
            theirs = {name: written[name] for name in ("overlap", "catch_up", "bullmq", "paused") if name in written}
            checked(replace(times, **theirs, jitter_ms=int(bool(written.get("jitter")))))
        except (ValueError, TypeError, AttributeError) as error:
            yield str(error)

    def schedule(self, id: str, queue: str, source: str) -> Schedule:
        """The schedule of this table. `queue`: where it does not say."""
        return Schedule(
            id,
            self.job or id,
            self.queue or queue,
            self.data,
            self.cron,
            self.tz,
            self.every,
            self.at,
            self.overlap,
            self.catch_up,
            self.jitter,
            self.priority,
            self.attempts,
            self.timeout,
            self.paused,
            self.bullmq,
            source,
        )


def source_of(config: Config) -> str:
    """How a store knows which schedules come from this configuration: by the folder of its file."""
    folder = config.source.parent if config.source is not None else Path(config.base_dir)
    return f"config:{folder}"
