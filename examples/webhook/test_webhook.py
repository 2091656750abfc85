"""Tests of the handler against a receiver that checks signatures and misbehaves: `pytest` in this folder."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jobhost.testing import TestHost
from jobhost_sdk.testing import run

WEBHOOK = Path(__file__).parent / "handlers" / "webhook.py"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_" + base64.b64encode(b"x" * 24).decode()
TOLERANCE = 300


class Receiver(ThreadingHTTPServer):
    """Answers with the next of `answers` (a status, with `Retry-After`; None: never), at last with 204. `got`: what was right."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Call)
        self.answers: list[tuple[int, str] | int | None] = []
        self.secret = SECRET
        self.got: list[dict[str, Any]] = []
        self.ids: list[str | None] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks?from=test"


class Call(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.ids.append(self.headers["webhook-id"])
        if not self.verified(body):
            self.answer(401)
            return
        self.server.got.append({"path": self.path, "key": self.headers["idempotency-key"], **json.loads(body)})
        answer = self.server.answers.pop(0) if self.server.answers else 204
        if answer is None:
            self.server.closing.wait()
        else:
            self.answer(*answer if isinstance(answer, tuple) else (answer,))

    def verified(self, body: bytes) -> bool:
        """As the specification has it, in its own words and none of the handler's."""
        id, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        if abs(int(at) - time.time()) > TOLERANCE:
            return False
        key = base64.b64decode(self.server.secret.removeprefix("whsec_"))
        wanted = base64.b64encode(hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
        given = [part.partition(",") for part in self.headers["webhook-signature"].split(" ")]
        return any(version == "v1" and hmac.compare_digest(text, wanted) for version, _, text in given)

    def answer(self, status: int, retry_after: str = "") -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("retry-after", retry_after)
        if 300 <= status < 400:
            self.send_header("location", self.server.url)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    with Receiver() as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def event(receiver: Receiver) -> dict[str, Any]:
    return {"url": receiver.url, "type": "order.paid", "data": {"order": 7, "name": "Zoë"}}


def test_it_is_signed_and_arrives(receiver: Receiver) -> None:
    ran = run(WEBHOOK, event(receiver))
    [got] = receiver.got
    assert (got["type"], got["data"], got["path"]) == ("order.paid", {"order": 7, "name": "Zoë"}, "/hooks?from=test")
    assert ran.result == {"id": got["key"], "status": 204}
    assert ran.logs[0].fields["status"] == 204


def test_the_signature_is_that_of_the_reference_implementation() -> None:
    """The vector that the specification's own libraries are tested with."""
    code = {"__name__": "standard_webhooks"}
    exec(compile((WEBHOOK.parent / "_standard_webhooks.py").read_text(), "_standard_webhooks.py", "exec"), code)
    key: Any = code["key_of"]
    signature: Any = code["signature"]
    signed = signature([key(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_changed_both_are_good(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", f"{SECRET} {OLD}")
    for secret in (SECRET, OLD):
        receiver.secret = secret
        assert run(WEBHOOK, event(receiver)).result["status"] == 204


def test_a_wrong_secret_is_refused_for_good(receiver: Receiver) -> None:
    receiver.secret = OLD
    assert "refused the webhook: 401" in str(run(WEBHOOK, event(receiver)).error)


def test_failures_are_retried_under_one_id(receiver: Receiver, jobhost: TestHost) -> None:
    receiver.answers = [500, 503, 408, 502]
    jobhost.bundle(WEBHOOK)
    backoff = {"type": "exponential", "delay": "5s", "jitter": 0}
    start, job = jobhost.now, jobhost.enqueue("webhook.send", event(receiver), attempts=8, backoff=backoff)
    jobhost.run_until_idle()
    assert job.result["status"] == 204
    assert job.attempts == len(receiver.ids) == 5
    assert set(receiver.ids) == {job.result["id"]}
    assert jobhost.now - start == timedelta(seconds=5 + 10 + 20 + 40)


def test_retry_after_is_kept(receiver: Receiver, jobhost: TestHost) -> None:
    receiver.answers = [(429, "3600")]
    jobhost.bundle(WEBHOOK)
    start, job = jobhost.now, jobhost.enqueue("webhook.send", event(receiver))
    jobhost.run_until_idle()
    assert (job.result["status"], job.attempts) == (204, 1)
    assert jobhost.now - start == timedelta(hours=1)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 301, 307])
def test_other_refusals_are_final(receiver: Receiver, jobhost: TestHost, status: int) -> None:
    receiver.answers = [status]
    jobhost.bundle(WEBHOOK)
    job = jobhost.enqueue("webhook.send", event(receiver))
    jobhost.run_until_idle()
    job.assert_failed("UnrecoverableError", str(status))
    assert len(receiver.got) == 1


def test_a_receiver_that_hangs_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.answers = [None]
    keys = [base64.b64decode(SECRET.removeprefix("whsec_"))]
    ran = run(WEBHOOK, event(receiver), services={"keys": keys, "patience": 0.05})
    assert isinstance(ran.error, TimeoutError)


def test_a_receiver_that_is_gone_is_tried_again_and_then_given_up(receiver: Receiver, jobhost: TestHost) -> None:
    gone = {**event(receiver), "url": "http://127.0.0.1:9/"}
    jobhost.bundle(WEBHOOK)
    job = jobhost.enqueue("webhook.send", gone, attempts=3)
    jobhost.run_until_idle()
    job.assert_failed("ConnectionRefusedError")
    assert job.attempts == 3


@pytest.mark.parametrize("secret", ["", "whsec_short", "whsec_c2hvcnQ="])
def test_nothing_is_sent_unsigned(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    with pytest.raises(Exception, match="WEBHOOK_SECRET"):
        _ = run(WEBHOOK, event(receiver)).result
    assert receiver.ids == []


def test_only_web_addresses_are_called(receiver: Receiver) -> None:
    ran = run(WEBHOOK, {**event(receiver), "url": "file:///etc/passwd"})
    assert type(ran.error).__name__ == "InvalidJobDataError"
