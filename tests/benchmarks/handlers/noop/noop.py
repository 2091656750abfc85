# mypy: allow-untyped-defs


def handler(job, ctx):
    return {"ok": True, "n": job.data["n"]}
