from jobhost_sdk import Context, Job, UnrecoverableError, handler


@handler(
    "order.pack", flow={"name": "orders", "step": "pack", "subscribes": ["order.placed"], "emits": ["order.packed"]}
)
async def pack(job: Job, ctx: Context) -> dict:
    order = await ctx.state.get("order")
    for item in order["items"]:
        if item.get("stock", item["count"]) < item["count"]:
            raise UnrecoverableError(f"out of stock: {item['name']}")
    parcels = len(order["items"])
    await ctx.flow.emit("order.packed", {"parcels": parcels})
    return {"parcels": parcels}
