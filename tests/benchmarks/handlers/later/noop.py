# mypy: allow-untyped-defs


async def handler(job, ctx):
    return {"ok": True, "n": job.data["n"]}
