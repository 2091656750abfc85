"""Makes good: if packing fails after the money was taken, the money goes back. `step:NAME` and `step:NAME:failed` are triggers that
the end of a step emits by itself."""

from jobhost_sdk import Context, Job, handler


@handler(
    "order.refund",
    flow={"name": "orders", "step": "refund", "subscribes": ["step:charge", "step:pack:failed"], "join": "all"},
)
async def refund(job: Job, ctx: Context) -> dict:
    reason = job.data["step:pack:failed"]["error"]["message"]
    charge = job.data["step:charge"]["charge"]
    ctx.logger.warning("refunded", charge=charge, reason=reason)
    return {"refunded": charge, "reason": reason}
