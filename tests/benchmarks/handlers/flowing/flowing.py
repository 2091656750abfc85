# mypy: allow-untyped-defs
"""One state write, one log line and one emit."""


async def handler(job, ctx):
    await ctx.state.set("n", job.data["n"])
    ctx.logger.info("done", n=job.data["n"])
    await ctx.flow.emit("done", {"n": job.data["n"]})
    return {"ok": True, "n": job.data["n"]}
