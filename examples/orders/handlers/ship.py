"""A join: it runs once for each order, when the order is both paid and packed, and gets the payloads of both."""

from jobhost_sdk import Context, Job, handler


@handler(
    "order.ship",
    flow={"name": "orders", "step": "ship", "subscribes": ["order.paid", "order.packed"], "join": "all"},
)
async def ship(job: Job, ctx: Context) -> dict:
    paid, packed = job.data["order.paid"], job.data["order.packed"]
    ctx.logger.info("shipped", parcels=packed["parcels"])
    return {"tracking": f"TR-{job.id[:8]}", "charge": paid["charge"], "parcels": packed["parcels"]}
