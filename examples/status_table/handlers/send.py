"""Sends an order. What it takes and gives is checked, here and whenever somebody runs `jobhost check --backlog`."""

from jobhost_sdk import Context, Job, handler

ORDER = {
    "type": "object",
    "required": ["customer", "items"],
    "properties": {"items": {"type": "integer", "minimum": 1}},
}
SENT = {"type": "object", "required": ["parcels"], "properties": {"parcels": {"type": "integer"}}}


def counted(job: Job, ctx: Context, call_next):
    ctx.logger.info("sending", items=job.data["items"])
    return call_next()


@handler("order.send", input=ORDER, result=SENT, middleware=[counted])
def send(job: Job, ctx: Context) -> dict:
    if job.data.get("van") == "late" and ctx.attempt == 1:
        raise RuntimeError("no van has come")
    return {"parcels": -(-job.data["items"] // 3)}
