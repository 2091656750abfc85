"""Alerts through a whole host, on every store: a webhook, a command, a handler; retried, paced, never in the way of the work."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.config.document import Config
from jobhost.config.problems import InvalidConfigurationError
from jobhost.dispatch import alerts
from jobhost.errors import ConfigurationError
from jobhost.queues.admission import Admission
from jobhost.queues.seam import Backend
from jobhost.testing import TestHost
from jobhost_sdk import UnrecoverableError

from .functions import Recorder, echo, serving
from .hosting import PATIENCE, Hosted, make_backend, result_of
from .receiver import Receiver

pytestmark = pytest.mark.anyio
DEAD = {"default": {"attempts": 1, "dead_letter": "default.dead"}}


def hopeless(job: Any, ctx: Any) -> None:
    raise UnrecoverableError("there is no card")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "FIRST_MS", 10)


async def told(host: Hosted, count: int = 1) -> list[Any]:
    """Wait until so many alerts are delivered; gives what came of them."""
    with anyio.fail_after(PATIENCE):
        while True:
            jobs, _ = await host.backend.jobs(alerts.QUEUE, ["completed"])
            if len(jobs) >= count:
                return [result_of(job) for job in jobs]
            await anyio.sleep(0.01)


async def test_a_webhook_is_told_of_a_dead_letter_and_signed(store: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """G3, J3: an alert on a finally failed job; the signature is that of Standard Webhooks."""
    monkeypatch.setenv("ALERT_SECRET", "whsec_" + base64.b64encode(b"key").decode())
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "secret_env": "ALERT_SECRET"}
        async with serving(store, {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
            job = await host.run("hopeless", {"n": 1})
            [body] = await receiver.until(1)
            assert (body["type"], body["job"]["id"], body["job"]["name"]) == ("dead_letter", job.id, "hopeless")
            assert (body["dead_letter"], body["more"]) == ("default.dead", 0)
            assert body["error"] == {"type": "UnrecoverableError", "message": "there is no card"}
            headers, raw = receiver.got[0]
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
            mac = base64.b64encode(hmac.new(b"key", signed, hashlib.sha256).digest()).decode()
            assert headers["webhook-signature"] == f"v1,{mac}"
            assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
            assert await told(host) == [{"status": 204}]


async def test_an_alert_waits_for_a_receiver_that_is_down_and_the_work_does_not(store: Backend) -> None:
    """G3: retried and never blocking the work."""
    answers: list[tuple[int, dict[str, str]]] = [(500, {}), (503, {"Retry-After": "1"}), (302, {"Location": "/other"})]
    with Receiver(answers).serving() as receiver:
        alert = {"webhook": receiver.url}
        functions = {"hopeless": hopeless, "echo": echo}
        async with serving(store, functions, queues=DEAD, alerts=[alert]) as host:
            await host.run("hopeless")
            await receiver.until(1)
            for n in range(20):
                assert result_of(await host.run("echo", n)) == n
            assert len({headers["webhook-id"] for headers, _ in (await receiver.until(4), receiver.got)[1]}) == 1
            assert await told(host) == [{"status": 204}]
            [delivered], _ = await store.jobs(alerts.QUEUE, ["completed"])
            assert delivered.attempts_made == 4


def test_pauses_between_tries_end_at_five_minutes_for_a_day() -> None:
    """G3: a receiver that is down for an hour is told once it is back."""
    assert [alerts.pause_ms(made) for made in (1, 2, 3)] == [10, 20, 40]
    assert alerts.pause_ms(alerts.ATTEMPTS) == 300_000
    assert sum(alerts.pause_ms(made) for made in range(1, alerts.ATTEMPTS)) > 23 * 3_600_000


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_an_alert_outlives_its_host(kind: str, tmp_path: Path) -> None:
    """G3: an alert is a job in the store: the next host delivers it to a receiver that is back."""
    receiver = Receiver([(500, {})] * 3)
    alert = {"webhook": receiver.url}
    with receiver.serving():
        first = make_backend(kind, tmp_path)
        async with serving(first, {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
            job = await host.run("hopeless")
            await receiver.until(1)
        async with serving(make_backend(kind, tmp_path), {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
            bodies = await receiver.until(4)
            assert {body["job"]["id"] for body in bodies} == {job.id}
            assert await told(host) == [{"status": 204}]


async def test_a_command_gets_the_alert_on_its_stdin(store: Backend, tmp_path: Path) -> None:
    """G3: alert hooks: a command; one that fails is run again."""
    script = tmp_path / "notify.py"
    script.write_text(
        "import pathlib, sys\n"
        "kept = pathlib.Path(sys.argv[1])\n"
        "first = not kept.exists()\n"
        "kept.write_text(sys.stdin.read())\n"
        "sys.exit('not yet' if first else 0)\n"
    )
    kept = tmp_path / "told.json"
    alert = {"command": [sys.executable, str(script), str(kept)], "on": ["failed"]}
    async with serving(store, {"hopeless": hopeless}, alerts=[alert]) as host:
        job = await host.run("hopeless")
        assert await told(host) == [{"exit_code": 0}]
        body = json.loads(kept.read_text())
        assert (body["type"], body["job"]["id"], body["dead_letter"]) == ("failed", job.id, None)
        [delivered], _ = await store.jobs(alerts.QUEUE, ["completed"])
        assert delivered.attempts_made == 2


async def test_a_command_that_hangs_is_killed(store: Backend, tmp_path: Path) -> None:
    alert = {"command": ["sleep", "1000"], "timeout": "50ms"}
    async with serving(store, {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
        await host.run("hopeless")
        with anyio.fail_after(PATIENCE):
            while not any(job.error and b"was killed" in job.error for job in (await store.jobs(alerts.QUEUE))[0]):
                await anyio.sleep(0.01)


async def test_a_handler_may_be_the_receiver(store: Backend) -> None:
    """G3: alert hooks: a handler; an alert about itself is not told."""
    seen: list[Any] = []

    def page(job: Any, ctx: Any) -> None:
        seen.append(job.data)
        raise UnrecoverableError("nobody answers")

    functions = {"hopeless": hopeless, "page": (page, {"queue": "pages"})}
    async with serving(store, functions, queues=DEAD, alerts=[{"handler": "page", "on": ["failed"]}]) as host:
        job = await host.run("hopeless")
        with anyio.fail_after(PATIENCE):
            while not (await store.counts("pages"))["failed"]:
                await anyio.sleep(0.01)
        await host.run("hopeless")
        assert [body["job"]["id"] for body in seen] == [job.id]
        assert alerts.QUEUE not in host.host.workers


async def test_a_job_that_fails_again_is_told_again(store: Backend) -> None:
    """G3: a replay keeps the job's id and time, and its second failure is another one."""
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "every": "0s"}
        async with serving(store, {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
            job = await host.run("hopeless")
            await receiver.until(1)
            [letter], _ = await store.jobs("default.dead")
            assert (await store.replay("default.dead", letter.id)).outcome == "replayed"
            again = await receiver.until(2)
            assert [body["job"]["id"] for body in again] == [job.id, job.id]
            assert again[0]["id"] != again[1]["id"]


async def test_of_many_the_first_is_told_at_once_and_the_others_together(store: Backend) -> None:
    """G3: ten thousand failures are not ten thousand alerts."""
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "every": "300ms"}
        async with serving(store, {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
            ids = [await host.add("hopeless") for _ in range(20)]
            for id in ids:
                await host.done(id)
            first, last, *rest = await receiver.until(2)
            assert first["more"] == 0
            assert last["more"] + sum(one["more"] + 1 for one in rest) == 18


async def test_a_host_that_stops_tells_what_it_held_back(store: Backend) -> None:
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "every": "1h"}
        async with serving(store, {"hopeless": hopeless}, queues=DEAD, alerts=[alert]) as host:
            ids = [await host.add("hopeless") for _ in range(5)]
            for id in ids:
                await host.done(id)
            await receiver.until(1)
            windows = host.host.alerts._windows
            assert [window.more for window in windows.values()] == [3]
            await host.host.alerts.flush()
            assert (await receiver.until(2))[1]["more"] == 3


async def test_a_flow_that_failed_is_told(store: Backend) -> None:
    """G3: alert hooks on the failure of a flow, once."""
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "on": ["flow_failed"]}
        functions = {"hopeless": hopeless, "echo": echo}
        async with serving(store, functions, alerts=[alert]) as host:
            await host.run("echo", {"flowId": "good", "flowName": "orders"})
            await host.run("hopeless", {"flowId": "bad", "flowName": "orders"})
            [body] = await receiver.until(1)
            assert (body["type"], body["flow"]) == ("flow_failed", {"id": "bad", "name": "orders"})
            assert await told(host) == [{"status": 204}]


async def test_a_job_that_stalled_too_often_is_told(store: Backend) -> None:
    with Receiver().serving() as receiver:
        queues = {"default": {**DEAD["default"], "max_stalled": 0, "stalled_interval": "20ms", "paused": True}}
        async with serving(store, {"echo": echo}, queues=queues, alerts=[{"webhook": receiver.url}]) as host:
            await host.add("echo")
            await store.claim("default", 1, Admission(), 1, "gone")
            [body] = await receiver.until(1)
            assert (body["type"], body["error"]["type"]) == ("dead_letter", "StalledError")


async def test_only_what_an_alert_wants_is_told(store: Backend) -> None:
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "handlers": ["pay.*"], "queues": ["def*"]}
        functions = {"hopeless": hopeless, "pay.card": hopeless}
        async with serving(store, functions, queues=DEAD, alerts=[alert]) as host:
            await host.run("hopeless")
            await host.run("pay.card", queue="default")
            [body] = await receiver.until(1)
            assert body["job"]["name"] == "pay.card"
            id = await host.add("pay.card", queue="default", delay_ms=3_600_000)
            await store.cancel("default", id)  # the user's own doing
            assert len(await told(host)) == 1


async def test_a_missing_secret_ends_the_start(store: Backend) -> None:
    alert = {"webhook": "https://example.org/", "secret_env": "NO_SUCH_SECRET"}
    with pytest.raises(ConfigurationError, match="NO_SUCH_SECRET"):
        async with serving(store, {"echo": echo}, alerts=[alert], log=Recorder()):
            raise AssertionError("it started")


@pytest.mark.parametrize(
    ("alert", "text"),
    [
        ({}, "needs exactly one of webhook, command, handler"),
        ({"webhook": "https://a.example/", "handler": "x"}, "needs exactly one of"),
        ({"webhook": "ftp://a.example/"}, "is no address of a receiver"),
        ({"command": "notify"}, "should be a list of a program and its words"),
        ({"handler": "x", "secret_env": "S"}, "there is none"),
        ({"handler": "x", "on": ["death"]}, '"death"'),
    ],
)
def test_a_wrong_alert_is_said_where_it_stands(alert: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as raised:
        Config.model_validate({"alerts": [alert]})
    assert text.strip('"') in str(raised.value)
    assert "alerts[0]" in str(raised.value) or "alerts.0" in str(raised.value)


def test_a_receiver_that_is_down_for_an_hour_is_told_once_it_is_back() -> None:
    """G3: an hour of virtual time: tried at growing intervals, and told within five minutes of its return."""
    receiver = Receiver([(503, {})] * 1_000)
    config = {"queues": DEAD, "alerts": [{"webhook": receiver.url}]}
    with receiver.serving(), TestHost(config) as host:
        host.register(hopeless, "hopeless")
        host.enqueue("hopeless")
        host.advance("1h")
        tries = len(receiver.got)
        assert 15 < tries < 40
        receiver.answer([])
        host.advance("5m")
        assert len(receiver.got) == tries + 1
        [alert] = host.jobs("jobhost.alert")
        assert alert.state == "completed"
