"""Hooks, fully annotated."""

from __future__ import annotations

from jobhost import Host, JobEvent


class Mirror:
    def on_completed(self, job: JobEvent) -> None:
        print(job.id, job.result, job.seconds)

    async def on_failed(self, job: JobEvent) -> None:
        if job.error is not None:
            print(job.name, job.error["type"])


def prepare(host: Host) -> None:
    host.hook(Mirror)

    @host.on_started
    def started(job: JobEvent) -> str:
        return f"{job.queue} {job.attempt}"
