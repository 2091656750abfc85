"""Tests of the handler against a server that misbehaves in every way: `pytest` in this folder."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jobhost.testing import TestHost
from jobhost_sdk import InvalidJobDataError, RetryLater, UnrecoverableError
from jobhost_sdk.testing import run

OLLAMA = Path(__file__).parent / "handlers" / "ollama.py"
ASK = {"model": "tiny", "prompt": "Where is Dublin?"}
WORDS = ["In", " Ireland", "."]
Behaviour = Callable[["Request"], None]


class Model(ThreadingHTTPServer):
    """A server that answers each request by the next behaviour, and at last by `well`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behaviours: list[Behaviour] = []
        self.asked: list[Any] = []
        self.closing = threading.Event()


class Request(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        behaviour = self.server.behaviours.pop(0) if self.server.behaviours else well
        behaviour(self)

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()

    def say(self, **told: Any) -> None:
        self.wfile.write(json.dumps({"model": "tiny", **told}).encode() + b"\n")

    def log_message(self, *_: object) -> None:
        """Silent."""


def well(request: Request, pause: float = 0) -> None:
    request.begin()
    for word in WORDS:
        time.sleep(pause)
        request.say(response=word, done=False)
    request.say(response="", done=True, done_reason="stop")


def slow(request: Request) -> None:
    well(request, pause=0.05)


def busy(request: Request) -> None:
    request.begin(503, retry_after="120")
    request.say(error="server busy, please try again")


def silent(request: Request) -> None:
    request.server.closing.wait()


def cut(request: Request) -> None:
    request.begin()
    request.say(response=WORDS[0], done=False)


def garbage(request: Request) -> None:
    cut(request)
    request.wfile.write(b"<html>502 Bad Gateway</html>\n")


def broken(request: Request) -> None:
    cut(request)
    request.say(error="out of memory")


def unknown(request: Request) -> None:
    request.begin(404)
    request.say(error="model 'tiny' not found")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    with Model() as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        monkeypatch.setenv("OLLAMA_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def test_the_answer_grows_as_progress(model: Model) -> None:
    ran = run(OLLAMA, {**ASK, "options": {"seed": 1}})
    assert ran.result == {"text": "In Ireland.", "tokens": 3, "reason": "stop"}
    assert ran.progress == [
        {"tokens": 1, "text": "In"},
        {"tokens": 2, "text": "In Ireland"},
        {"tokens": 3, "text": "In Ireland."},
    ]
    assert model.asked == [{**ASK, "options": {"seed": 1}, "stream": True}]


def test_a_busy_server_is_asked_again_when_it_says(model: Model, jobhost: TestHost) -> None:
    model.behaviours = [busy, busy]
    jobhost.bundle(OLLAMA)
    start = jobhost.now
    job = jobhost.enqueue("ollama.generate", ASK)
    jobhost.run_until_idle()
    assert job.result["text"] == "In Ireland."
    assert jobhost.now - start == timedelta(minutes=4)
    assert job.attempts == 1  # waiting uses none


def test_retry_after_may_be_a_date_or_nonsense(model: Model) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)
    for header, least, most in ((in_an_hour, 1790, 1800), ("soon", 5, 5), ("0", 0.1, 0.1), ("99999999", 3600, 3600)):
        model.behaviours = [lambda request, header=header: request.begin(429, retry_after=header)]  # type: ignore[misc]
        error = run(OLLAMA, ASK).error
        assert isinstance(error, RetryLater)
        assert least <= error.delay_ms / 1000 <= most


@pytest.mark.parametrize(
    ("behaviour", "type", "message"),
    [
        (silent, "TimeoutError", "timed out"),
        (cut, "ConnectionError", "ended after 1 tokens"),
        (garbage, "ValueError", "none of the API's: b'<html>502"),
        (broken, "RuntimeError", "out of memory"),
        (lambda request: request.begin(500), "RuntimeError", "the server failed, 500"),
        (lambda request: request.connection.close(), "", ""),
    ],
)
def test_what_goes_wrong_is_tried_again(
    model: Model, jobhost: TestHost, behaviour: Behaviour, type: str, message: str
) -> None:
    model.behaviours = [behaviour]
    jobhost.bundle(OLLAMA)
    job = jobhost.enqueue("ollama.generate", {**ASK, "patience": "100ms"}, backoff="10m")
    jobhost.advance("1s")
    assert job.state == "delayed"
    assert type in job.error["type"]
    assert message in job.error["message"]
    jobhost.run_until_idle()
    assert job.result["text"] == "In Ireland."
    assert job.attempts == 2


def test_a_model_that_is_slow_but_speaks_is_waited_for(model: Model) -> None:
    model.behaviours = [slow]
    ran = run(OLLAMA, {**ASK, "patience": "140ms"})  # less than the whole answer takes
    assert ran.result["tokens"] == 3


def test_an_unknown_model_is_not_tried_again(model: Model) -> None:
    model.behaviours = [unknown]
    error = run(OLLAMA, ASK).error
    assert isinstance(error, UnrecoverableError)
    assert str(error) == "the server refused, 404: model 'tiny' not found"


def test_it_stops_in_the_middle_when_it_is_told(model: Model) -> None:
    ran = run(OLLAMA, ASK, cancel_when=lambda ran: len(ran.progress) == 2)
    assert len(ran.progress) == 2
    assert "told to stop (cancelled) after 2 tokens" in str(ran.error)


def test_a_prompt_is_needed() -> None:
    assert isinstance(run(OLLAMA, {"model": "tiny"}).error, InvalidJobDataError)
