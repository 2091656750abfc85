from jobhost_sdk import Context, Job, handler


@handler("hello", timeout="30s")
def hello(job: Job, ctx: Context) -> dict[str, object]:
    name = (job.data or {}).get("name", "world")
    ctx.logger.info("greeting", name=name)
    return {"text": f"Hello, {name}!", "attempt": job.attempt}
