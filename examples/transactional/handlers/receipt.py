def handler(job, ctx):
    ctx.logger.info("sending", order=job.data["order"])
    return {"sent": job.data["order"]}
