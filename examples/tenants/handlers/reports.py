"""A report for one customer; the renderer it needs may be down."""

import json
from pathlib import Path

from jobhost_sdk import handler

RENDERER = Path(__file__).parent.parent / ".jobhost" / "renderer-is-down"


@handler("report.make", queue="reports", attempts=5, backoff="100ms")
def make(job, ctx):
    if RENDERER.exists():
        raise ConnectionError("the renderer does not answer")
    ctx.logger.info("made", customer=job.data["customer"], number=job.data["number"])
    return {"customer": job.data["customer"], "number": job.data["number"], "pages": len(json.dumps(job.data))}
