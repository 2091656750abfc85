"""Handlers in the accepted forms, fully annotated."""

from __future__ import annotations

from jobhost_sdk import Context, Handler, Job, RetryLater, SetupContext, SyncContext, UnrecoverableError, handler


@handler("image.resize", queue="images", timeout="30s")
async def resize(job: Job, ctx: Context) -> dict[str, bool]:
    ctx.logger.info("resizing", width=job.data["width"])
    await ctx.progress(50)
    await ctx.state.set("last", job.id)
    seen: int = await ctx.state.incr("seen")
    if seen > 3:
        raise RetryLater("5m")
    return {"ok": not ctx.cancelled}


@handler
def blocking(job: Job, ctx: SyncContext) -> str:
    ctx.progress({"step": 1})
    if ctx.state.get("done", default=False):
        raise UnrecoverableError("done before")
    return ctx.idempotency_key


class Report(Handler):
    async def run(self, job: Job, ctx: Context) -> int:
        return job.attempt


async def setup(ctx: SetupContext) -> None:
    ctx.services.greeting = "hello"
