"""Asks a language model behind an HTTP API of Ollama's form, and shows its answer as it grows.

`POST /api/generate` answers with a JSON object a line: `{"response": "…", "done": false}`, the last with `"done": true`.
"""

import http.client
import json
import os
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from jobhost_sdk import RetryLater, UnrecoverableError, handler
from jobhost_sdk.durations import milliseconds

BUSY = (429, 503)
LONGEST = 3600
"""Seconds that a server may have us wait."""


@handler(
    "ollama.generate",
    timeout="10m",
    input={
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": {"type": "string"},
            "prompt": {"type": "string"},
            "options": {"type": "object"},
            "patience": {"type": "string"},
        },
    },
)
def generate(job, ctx):
    """Ask `model` about `prompt`. `patience`: how long the model may be silent, by default "60s".

    Gives `{"text", "tokens", "reason"}`. A server that is busy is asked again when it says; silence, a stream that is cut and lines
    that are none of the API's are failures, and tried again by the job's policy; an unknown model is not.
    """
    connection = connect(milliseconds(job.data.get("patience", "60s")) / 1000)
    try:
        asked = {key: job.data[key] for key in ("model", "prompt", "options") if key in job.data}
        connection.request(
            "POST", "/api/generate", json.dumps({**asked, "stream": True}), {"content-type": "application/json"}
        )
        with connection.getresponse() as response:
            refuse(response)
            return answer(response, ctx)
    finally:
        connection.close()


def connect(patience):
    url = urlsplit(os.environ.get("OLLAMA_URL", "http://127.0.0.1:11434"))
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.hostname, url.port, timeout=patience)


def refuse(response):
    """Raise what an answer that is none asks for."""
    if response.status == 200:
        return
    said = f"{response.status}: {reason(response.read())}"
    if response.status in BUSY:
        wait = retry_after(response.headers.get("retry-after"))
        raise RetryLater(f"{wait}s", f"the server is busy for {wait:g} s ({said})")
    if response.status < 500:
        raise UnrecoverableError(f"the server refused, {said}")
    raise RuntimeError(f"the server failed, {said}")


def reason(body):
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def retry_after(header, default=5.0):
    """Seconds to wait, of a number or a date as RFC 9110 has them; never below 0.1, what a job may ask for."""
    try:
        wait = float(header)
    except (TypeError, ValueError):
        try:
            wait = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            wait = default
    return round(min(max(wait, 0.1), LONGEST), 3)


def answer(response, ctx):
    """Read the stream to its end."""
    text, tokens = "", 0
    for line in response:
        told = parsed(line, tokens)
        text += told["response"]
        if told.get("done"):
            ctx.logger.info("answered", tokens=tokens, model=told.get("model"))
            return {"text": text, "tokens": tokens, "reason": told.get("done_reason")}
        tokens += 1
        # All of it each time: of progress only the latest is sure to be seen.
        ctx.progress({"tokens": tokens, "text": text})
        if ctx.cancelled:
            raise UnrecoverableError(f"told to stop ({ctx.cancel_reason}) after {tokens} tokens")
    raise ConnectionError(f"the stream ended after {tokens} tokens, before the answer did")


def parsed(line, tokens):
    try:
        told = json.loads(line)
        if isinstance(told, dict) and "error" in told:
            raise RuntimeError(f"the model failed after {tokens} tokens: {told['error']}")
        if isinstance(told["response"], str):
            return told
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"after {tokens} tokens the stream has a line that is none of the API's: {line[:100]!r}")
