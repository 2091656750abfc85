"""Sends an event to somebody else's server, signed as Standard Webhooks 1.0.0 says."""

import hashlib
import http.client
import json
import os
import time
from urllib.parse import urlsplit

from _standard_webhooks import key_of, signature
from jobhost_sdk import ConfigurationError, RetryLater, UnrecoverableError, handler

PATIENCE = 15
"""Seconds: the specification wants 15 to 30."""
AGAIN = (408, 429)
"""What a client did wrong is wrong the next time too, but for these."""


def setup(ctx):
    """`WEBHOOK_SECRET`: one secret, or while it is changed the new and the old one with a space between."""
    try:
        ctx.services.keys = [key_of(secret) for secret in os.environ.get("WEBHOOK_SECRET", "").split()]
    except ValueError as error:
        raise ConfigurationError(f"WEBHOOK_SECRET: {error}") from error
    ctx.services.patience = PATIENCE


@handler(
    "webhook.send",
    timeout="1m",
    input={
        "type": "object",
        "required": ["url", "type"],
        "properties": {"url": {"type": "string", "pattern": "^https?://"}, "type": {"type": "string"}, "data": {}},
    },
)
def send(job, ctx):
    """Post `{type, timestamp, data}` to `url`. Gives `{"id", "status"}`.

    What times out, breaks off or is answered with 408, 429 or 5xx is tried again by the job's policy, or when `Retry-After` says; any
    other answer but 2xx fails the job at once. All attempts carry one `webhook-id`, by which a receiver knows a repetition.
    """
    if not ctx.services.keys:
        raise ConfigurationError("WEBHOOK_SECRET is not set: nothing is sent unsigned")
    id = "msg_" + hashlib.sha256(ctx.idempotency_key.encode()).hexdigest()[:32]
    event = {"type": job.data["type"], "timestamp": job.created_at.isoformat(), "data": job.data.get("data")}
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    now = int(time.time())
    headers = {
        "content-type": "application/json",
        "idempotency-key": id,
        "webhook-id": id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(ctx.services.keys, id, now, body),
    }
    status, retry_after = post(job.data["url"], body, headers, ctx.services.patience)
    ctx.logger.info("answered", status=status, id=id, attempt=job.attempt)
    judge(status, retry_after)
    return {"id": id, "status": status}


def post(url, body, headers, patience):
    """Redirects are not followed: the specification advises against it, and one may lead into a network of ours."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=patience)
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        with connection.getresponse() as response:
            return response.status, response.headers.get("retry-after", "")
    finally:
        connection.close()


def judge(status, retry_after):
    if 200 <= status < 300:
        return
    if status < 500 and status not in AGAIN:
        raise UnrecoverableError(f"the receiver refused the webhook: {status}")
    if retry_after.isdecimal() and 0 < int(retry_after) <= 86_400:
        raise RetryLater(f"{retry_after}s", f"the receiver asks for {retry_after} s ({status})")
    raise ConnectionError(f"the receiver could not take the webhook: {status}")
