"""The first step: it waits for nothing, so `flow start orders` runs it."""

from jobhost_sdk import Context, Job, handler


@handler("order.place", flow={"name": "orders", "step": "place", "emits": ["order.placed"]})
async def place(job: Job, ctx: Context) -> dict:
    order = job.data
    total = sum(item["price"] * item["count"] for item in order["items"])
    ctx.logger.info("order taken", customer=order["customer"], total=total)
    # State of the flow: every step of this order can read it.
    await ctx.state.set("order", {**order, "total": total})
    await ctx.flow.emit("order.placed", {"total": total})
    return {"total": total}
