"""How a receiver is told: a webhook, signed as Standard Webhooks has it (https://www.standardwebhooks.com), or a command.

The handler runs in the host, on a thread of its own; what hangs is given up after the receiver's `timeout` and tried again later.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobhost_sdk import Context, Job, RetryLater

from ..config.alerts import Alert

OUTPUT = 2_000
"""Characters of a command's output that its error quotes."""
LONGEST_WAIT = 300
"""Seconds that a receiver may ask for by Retry-After."""


class AlertError(Exception):
    """A receiver could not be told."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect of a POST loses its body: it is a failure like any other answer that is not 2xx."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def delivery(receivers: Mapping[str, Alert], base_dir: Path) -> Callable[[Job, Context], Any]:
    """The handler of alerts for these receivers, by their ids. Commands run in `base_dir`."""

    def deliver(job: Job, ctx: Context) -> Any:
        alert = receivers.get(job.data["alert"])
        if alert is None:
            raise AlertError("this host has no such receiver in its [[alerts]]: another one may have")
        body = json.dumps(job.data["body"], ensure_ascii=False, separators=(",", ":")).encode()
        if alert.webhook is not None:
            return {"status": post(alert, str(job.id), body)}
        return {"exit_code": run(alert, body, base_dir)}

    return deliver


def post(alert: Alert, id: str, body: bytes) -> int:
    """Send an alert to its webhook; gives the status. Raises AlertError, or RetryLater where the receiver says when."""
    assert alert.webhook is not None
    headers = {"Content-Type": "application/json", "User-Agent": "jobhost"}
    headers |= signed(os.environ[alert.secret_env] if alert.secret_env else None, id, int(time.time()), body)
    request = urllib.request.Request(alert.webhook, body, headers, method="POST")  # noqa: S310 - http(s), as the configuration checks
    try:
        with _OPENER.open(request, timeout=alert.timeout / 1000) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            wait = error.headers.get("Retry-After", "")
        if error.code in (429, 503) and wait.isdecimal() and 0 < int(wait) <= LONGEST_WAIT:
            raise RetryLater(f"{int(wait)}s", f"the receiver answered {error.code}", attempt=True) from None
        raise AlertError(f"the receiver answered {error.code} {error.reason}") from None
    except OSError as error:
        raise AlertError(f"the receiver can't be reached: {error}") from error


def signed(secret: str | None, id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks. `secret`: a text, or `whsec_` and base64 of its bytes; None: not signed. `at`: Unix seconds."""
    headers = {"webhook-id": id, "webhook-timestamp": str(at)}
    if secret is not None:
        key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
        mac = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(mac).decode()
    return headers


def run(alert: Alert, body: bytes, base_dir: Path) -> int:
    """Run an alert's command with the alert as JSON on stdin. Raises AlertError if it fails or takes too long."""
    assert alert.command is not None
    try:
        process = subprocess.Popen(
            alert.command,
            cwd=base_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # in our session: what is in another one counts as left behind by a child
        )
    except OSError as error:
        raise AlertError(f"{alert.command[0]} can't be started: {error.strerror}") from error
    with process:
        try:
            output, _ = process.communicate(body, timeout=alert.timeout / 1000)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AlertError(f"{alert.command[0]} ran longer than its timeout and was killed") from None
    if process.returncode:
        text = output.decode("utf-8", "replace").strip()[-OUTPUT:]
        raise AlertError(f"{alert.command[0]} ended with {process.returncode}: {text}")
    return 0
