"""Verbs that need only a store, run in this process on a SQLite file."""

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from jobhost import Client
from jobhost.cli.lazy import LazyGroup
from jobhost.cli.main import VERBS, cli
from jobhost.queues.admission import Admission
from jobhost.queues.flows import Emit, InFlow
from jobhost.queues.job import HostInfo, Lease, LogLine, PublishedHandler, Settlement

JOB_KEYS = [
    *(
        "id",
        "queue",
        "name",
        "state",
        "data",
        "result",
        "error",
        "timeout",
        "metadata",
        "attempts_made",
        "max_attempts",
    ),
    *("progress", "priority", "delay_until", "created_at", "started_at", "finished_at", "flow_id", "host", "receipt"),
]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOBHOST_DEBUG", raising=False)
    return iter([None])


def jobhost(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="jobhost", input=input)


def out(*arguments: str, input: str | None = None) -> str:
    result = jobhost(*arguments, input=input)
    assert result.exit_code == 0, result.output
    return result.stdout


def parsed(*arguments: str) -> Any:
    return json.loads(out(*arguments))


def fails(code: int, *arguments: str, input: str | None = None) -> str:
    result = jobhost(*arguments, input=input)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def with_backend(work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        async with Client("sqlite:///.jobhost/jobhost.db") as jobs:
            return await work(jobs)

    return asyncio.run(connected())


def settle(to: str, queue: str = "default", **how: Any) -> None:
    """Claim the next job of a queue and end it."""

    async def work(jobs: Client) -> None:
        (claim,) = (await jobs.backend.claim(queue, 1, Admission(), 30_000, "here:1")).claims
        lease = Lease(queue, claim.job.id, claim.token)
        await jobs.backend.progress([(lease, b"50")])
        line = LogLine(1_700_000_000_000, "warning", "half\x1b[2J way", b'{"n":1}', 1, "stdout")
        await jobs.backend.log([(lease, line)])
        assert await jobs.backend.settle([Settlement(lease, to, **how)]) == [True]  # type: ignore[arg-type]

    with_backend(work)


ERROR = b"""{"type":"ValueError","message":"no\\nwidth","stack":"File x\\n  line","origin":"handler",
"fields":[{"field":"a.b","message":"is missing"}],"cause":"KeyError: b","data":null}"""


def test_enqueue_prints_the_id_and_stores_the_options() -> None:
    """C4: everything a job can be told, on the command line."""
    options = [
        "--delay",
        "1h",
        "--attempts",
        "4",
        "--backoff",
        "2s",
        "--timeout",
        "none",
        "--meta",
        "by=me=x",
        "--meta",
        "n=1",
    ]
    assert (
        out("enqueue", "image.resize", "-q", "images", "--id", "a", "-d", '{"w": [1]}', "--priority", "3", *options)
        == "a\n"
    )
    job = parsed("jobs", "show", "a", "-q", "images", "--json")
    assert list(job) == JOB_KEYS
    assert (job["name"], job["queue"], job["state"], job["data"]) == ("image.resize", "images", "delayed", {"w": [1]})
    assert (job["priority"], job["max_attempts"], job["timeout"]) == (3, 4, "none")
    assert job["metadata"] == {"by": "me=x", "n": "1"}
    assert job["delay_until"].endswith("Z")


def test_data_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    """C4: --data JSON, @FILE and -."""
    (tmp_path / "d.json").write_text('{"from": "file"}')
    out("enqueue", "n", "-d", "@d.json")
    out("enqueue", "n", "-d", "-", input='"stdin"')
    out("enqueue", "n")
    assert [job["data"] for job in parsed("jobs", "list", "--json")] == [None, "stdin", {"from": "file"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{"], "is not JSON"),
        (["--data", "hello"], "a text needs quotes of its own"),
        (["--data", "@gone.json"], "gone.json cannot be read: No such file"),
        (["--data", "NaN"], "is not JSON: NaN is not JSON"),
        (["--data", "1e999"], "data: inf is not a JSON value"),
        (["--data", "9007199254740993"], "beyond"),
        (["--data", '"' + "x" * 2**20 + '"'], "1,048,578 bytes as JSON; queue 'default' takes 1,048,576 (max_payload)"),
        (["--data", "[" * 5_000 + "]" * 5_000], "nests"),
        (["--delay", "5"], '5 has no unit: write "5s"'),
        (["--timeout", "soon"], "is not a duration"),
        (["--timeout", "0s"], "would end every run at once"),
        (["--priority", "-1"], "is not a priority"),
        (["--attempts", "0"], "attempts make no sense"),
        (["--meta", "x"], "write KEY=VALUE"),
        (["--id", "a", "--count", "2"], "--id names one job"),
        (["--count", "0"], "--count"),
    ],
)
def test_wrong_use_is_exit_2_with_the_reason(arguments: list[str], message: str) -> None:
    """H3, O1: wrong options and payloads are usage errors, and nothing is stored."""
    assert message in fails(2, "enqueue", "n", "-q", "default", *arguments)
    assert parsed("jobs", "list", "--json") == []


def test_a_duration_with_none_where_it_means_nothing_is_refused() -> None:
    """C4: "none" is a timeout, not a delay."""
    assert "is not a duration" in fails(2, "enqueue", "n", "-q", "q", "--delay", "none")


def test_many_jobs_at_once() -> None:
    """C4: --count adds in bulk, and prints an id a line."""
    ids = out("enqueue", "n", "-q", "q", "--count", "2500").splitlines()
    assert len(set(ids)) == 2500
    assert parsed("queues", "list", "--json")[0]["counts"]["waiting"] == 2500
    assert len(parsed("jobs", "list", "--json", "-n", "1700")) == 1700
    assert len(parsed("jobs", "list", "--json")) == 100


def test_a_name_that_nobody_published_is_warned_about() -> None:
    """A6: a slip in the name is seen before the job fails; with --queue one knows what one does."""
    assert "no host has published a handler named 'nope'" in jobhost("enqueue", "nope").stderr
    assert jobhost("enqueue", "nope", "-q", "default").stderr == ""

    async def publish(jobs: Client) -> None:
        await jobs.backend.publish([PublishedHandler("known", "images", b"{}")])

    with_backend(publish)
    assert jobhost("enqueue", "known").stderr == ""
    assert parsed("jobs", "list", "-q", "images", "--json")[0]["name"] == "known"


def test_jobs_are_listed_page_by_page() -> None:
    """C2: --limit and --cursor; the newest first."""
    out("enqueue", "n", "-q", "q", "--count", "3")
    first = jobhost("jobs", "list", "-n", "2", "--json")
    cursor = first.stderr.split("--cursor ")[1].strip()
    rest = parsed("jobs", "list", "--cursor", cursor, "--json")
    assert [job["id"] for job in json.loads(first.stdout) + rest] == ["3", "2", "1"]


def test_a_failed_job_for_people_and_for_programs() -> None:
    """C6: failed jobs: error, fields, stack, cause and the end of the log, harmless to the terminal."""
    out("enqueue", "image.resize", "-q", "default", "-d", '{"w": 1}', "--attempts", "1")
    settle("failed", error=ERROR)
    text = out("jobs", "show", "1")
    assert "\x1b" not in text
    for line in (
        "  state     failed",
        "  attempts  1 of 1",
        '  data      {"w": 1}',
        "error (said by the handler)",
        "  ValueError: no",
        "  width",
        "  a.b: is missing",
        "    line",
        "  KeyError: b",
        "log, 1 line",
    ):
        assert line in text.splitlines()
    assert "warning #1 [stdout] half way n=1" in text
    assert parsed("jobs", "show", "1", "--json")["error"]["fields"] == [{"field": "a.b", "message": "is missing"}]
    table = out("jobs", "list", "-s", "failed")
    assert "ValueError: no width" in table
    line = json.loads(out("jobs", "logs", "1", "--json"))
    assert list(line) == ["ts", "level", "message", "fields", "attempt", "source"]
    assert (line["ts"], line["fields"], line["source"]) == ("2023-11-14T22:13:20.000Z", {"n": 1}, "stdout")
    assert "half way" in out("jobs", "logs", "1")


def test_falsy_results_are_shown() -> None:
    """Trap: a falsy result turned into nothing."""
    for result in (b"0", b"false", b"null", b'""'):
        out("enqueue", "n", "-q", "default")
        settle("completed", result=result)
    assert [job["result"] for job in parsed("jobs", "list", "--json")] == ["", None, False, 0]
    assert "  result    0" in out("jobs", "show", "1")
    assert "  result    null" in out("jobs", "show", "3")


def test_retry_cancel_promote_remove() -> None:
    """C6: single jobs are steered; each id is done by itself, and what can't be done says why."""
    out("enqueue", "n", "-q", "q", "--count", "2")
    out("enqueue", "n", "-q", "q", "--delay", "1h")
    assert out("jobs", "promote", "3", "-q", "q") == "3\n"
    assert out("jobs", "cancel", "1", "3", "-q", "q") == "1\n3\n"
    assert parsed("jobs", "show", "1", "-q", "q", "--json")["error"]["type"] == "CancelledError"
    result = jobhost("jobs", "retry", "1", "2", "99", "-q", "q")
    assert (result.exit_code, result.stdout) == (1, "1\n")
    assert "job 2 of queue q: it is waiting, not completed or failed" in result.stderr
    assert "job 99 of queue q: there is no such job" in result.stderr
    assert "it has finished already" in fails(1, "jobs", "cancel", "3", "-q", "q")
    assert "it is failed, not delayed" in fails(1, "jobs", "promote", "3", "-q", "q")
    assert out("jobs", "remove", "3", "-q", "q") == "3\n"
    assert "there is no such job" in fails(1, "jobs", "remove", "3", "-q", "q")


def test_a_running_job_is_asked_to_stop_and_not_removed() -> None:
    """C6: cancel reaches the host; remove waits for it."""
    out("enqueue", "n", "-q", "default")

    async def claim(jobs: Client) -> None:
        await jobs.backend.claim("default", 1, Admission(), 30_000, "h")

    with_backend(claim)
    assert "cancel it first" in fails(1, "jobs", "remove", "1")
    result = jobhost("jobs", "cancel", "1")
    assert (result.exit_code, result.stdout) == (0, "1\n")
    assert "its host was asked" in result.stderr
    assert "are running" in fails(1, "queues", "remove", "default", "--yes")


def test_an_unknown_job_is_exit_1() -> None:
    """C6: with its queue, since an id is unique in its queue only."""
    for verb in ("show", "logs"):
        assert fails(1, "jobs", verb, "7") == "error: there is no job '7' in queue 'default'\n"


def test_queues() -> None:
    """C6, C7, C10, L2: list, pause, resume, drain, clean, remove."""
    out("enqueue", "n", "-q", "a", "--count", "3")
    out("queues", "pause", "a", "b")
    listing = parsed("queues", "list", "--json")
    assert [(queue["name"], queue["paused"]) for queue in listing] == [("a", True), ("b", True)]
    assert set(listing[0]["counts"]) >= {"waiting", "active", "delayed", "prioritized", "completed", "failed"}
    assert out("queues", "list").splitlines()[1].split()[:3] == ["a", "yes", "3"]
    out("queues", "resume", "a")
    settle("completed", "a", result=b"1")
    assert out("queues", "clean", "a", "--older-than", "1h") == "0\n"
    assert out("queues", "clean", "a") == "1\n"
    assert out("queues", "drain", "a") == "2\n"
    out("enqueue", "n", "-q", "a")
    refused = jobhost("queues", "remove", "a", input="n\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Delete queue a with its 1 jobs?" in refused.stderr
    assert out("queues", "remove", "a", input="y\n") == "1\n"
    assert "is not a duration" in fails(2, "queues", "clean", "a", "--older-than", "5")


def test_state() -> None:
    """F1: what handlers keep, from outside."""
    out("state", "set", "global", "rate", '{"a": null}')
    out("state", "set", "global", "gone", "1", "--ttl", "1h")
    assert parsed("state", "get", "global", "rate") == {"a": None}
    assert parsed("state", "list", "--json") == ["global"]
    assert out("state", "list", "global") == "gone\nrate\n"
    assert fails(1, "state", "get", "global", "missing") == "error: global has no key missing\n"
    assert "is not JSON" in fails(2, "state", "set", "global", "rate", "hello")
    assert "is not a duration" in fails(2, "state", "set", "global", "rate", "1", "--ttl", "5")


def test_state_diff() -> None:
    """F1: what differs between two scopes, such as those of two flows."""
    for scope, key, value in (
        ("flow:a", "same", "1"),
        ("flow:b", "same", "1"),
        ("flow:a", "x", "null"),
        ("flow:b", "y", "2"),
    ):
        out("state", "set", scope, key, value)
    out("state", "set", "flow:a", "z", '{"n": 1}')
    out("state", "set", "flow:b", "z", '{"n": 2}')
    assert jobhost("state", "diff", "flow:a", "flow:b").stdout.splitlines() == [
        "- x null",
        "+ y 2",
        '- z {"n": 1}',
        '+ z {"n": 2}',
    ]
    assert json.loads(jobhost("state", "diff", "flow:a", "flow:b", "--json").stdout)["y"] == {
        "flow:a": None,
        "flow:b": 2,
    }
    assert jobhost("state", "diff", "flow:a", "flow:b").exit_code == 1
    assert out("state", "diff", "flow:a", "flow:a") == ""


def test_flows() -> None:
    """F5: list, show, logs, restart, cancel; what handlers published can be forgotten."""

    async def live(jobs: Client) -> None:
        placed = json.dumps({"flow": {"name": "orders", "subscribes": []}}).encode()
        charge = json.dumps({"flow": {"name": "orders", "subscribes": ["placed"]}}).encode()
        published = [PublishedHandler("place", "default", placed), PublishedHandler("charge", "default", charge)]
        await jobs.backend.publish(published)
        for id in ("f1", "f2"):
            await jobs.start_flow("orders", {"n": 1}, id=id)
        for claim in (await jobs.backend.claim("default", 2, Admission(), 30_000, "here:1")).claims:
            lease = Lease("default", claim.job.id, claim.token)
            line = LogLine(1_700_000_000_000, "warning", "placed\x1b[2J", None, 1, "handler")
            await jobs.backend.log([(lease, line)])
            place = InFlow(claim.job.flow_id or "", "orders", "place")
            emits = (Emit("placed", b'{"n":1}'), Emit("nobody", b"1"))
            await jobs.backend.settle([Settlement(lease, "completed", result=b"1", flow=place, emits=emits)])
        (claim,) = (await jobs.backend.claim("default", 1, Admission(), 30_000, "here:1")).claims
        lease = Lease("default", claim.job.id, claim.token)
        await jobs.backend.settle([Settlement(lease, "failed", error=ERROR, flow=InFlow("f1", "orders", "money"))])

    with_backend(live)
    assert [(one["id"], one["status"]) for one in parsed("flow", "list", "--json")] == [
        ("f2", "running"),
        ("f1", "failed"),
    ]
    assert "ValueError: no width" in out("flow", "list", "--status", "failed")
    assert jobhost("flow", "list", "-n", "1").stderr.startswith("more: --cursor ")
    shown = out("flow", "show", "f1")
    for text in (
        "status   failed",
        "└─ ✓ place completed",
        "placed → ✗ charge failed",
        "nobody -> nobody",
        "step.failed",
    ):
        assert text in shown, shown
    whole = parsed("flow", "show", "f1", "--json")
    assert (whole["name"], len(whole["jobs"]), whole["children"]) == ("orders", 2, [])
    assert [json.loads(line)["id"] for line in out("flow", "show", "f1", "-f", "--json").splitlines()] == list(
        range(1, len(whole["events"]) + 1)
    )
    assert out("flow", "show", "f1", "-f", "--all").count("flow.failed") == 1
    assert "placed" in out("flow", "logs", "f1", "-f")
    assert out("flow", "logs", "f1", "--level", "error") == ""
    assert json.loads(out("flow", "logs", "f1", "--step", "place", "--json"))["step"] == "place"
    assert "no failed job of step nothing" in fails(1, "flow", "restart", "f1", "--step", "nothing")
    assert "charge default:" in jobhost("flow", "restart", "f1", "--step", "money").stderr
    assert "no failed job of it" in fails(1, "flow", "restart", "f1")
    out("flow", "cancel", "f1", "f2")
    assert "f1: had ended" in fails(1, "flow", "cancel", "f1")
    assert [one["status"] for one in parsed("flow", "list", "--json")] == ["cancelled", "cancelled"]
    assert "flow 'nothing' is not there" in fails(1, "flow", "show", "nothing")
    assert "no handler begins a flow 'nothing'" in fails(1, "flow", "start", "nothing")
    assert jobhost("flow", "start", "orders", "--id", "f1").stderr.startswith("flow f1 is there already")
    assert out("flow", "start", "orders", "--data", "7").strip() == parsed("flow", "list", "--json")[0]["id"]
    assert jobhost("handlers", "forget", "place").stderr == "1 forgotten\n"
    assert fails(1, "handlers", "forget", "place") == "0 forgotten\n"


def test_a_project_starts_its_own_flows_and_draws_them(tmp_path: Path) -> None:
    """F5: the first steps are the project's own; `flow graph`, `check`."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    settings = 'config = {"flow": {"name": "orders", %s}}\n\n\ndef handler(job, ctx):\n    return None\n'
    (folder / "place.py").write_text(settings % '"emits": ["placed"]')
    (folder / "charge.py").write_text(settings % '"subscribes": ["placd"]')
    (tmp_path / "jobhost.toml").write_text('http = "off"\n[[bundles]]\npath = "handlers"\n')
    assert "did you mean 'placed'?" in jobhost("check").stdout
    assert jobhost("check").exit_code == 1
    (folder / "charge.py").write_text(settings % '"subscribes": ["placed"]')
    assert out("check") == "ok: 2 handlers in 1 bundles\n"
    assert '-->|"placed"|' in out("flow", "graph", "orders")
    assert parsed("flow", "graph", "--json")["edges"] == [{"from": "place", "to": "charge", "trigger": "placed"}]
    assert "no handler begins a flow 'x'" in fails(1, "flow", "graph", "x")
    id = out("flow", "start", "orders", "--data", '{"n": 1}').splitlines()[-1]
    assert [job["name"] for job in parsed("flow", "show", id, "--json")["jobs"]] == ["place"]
    assert "known: orders" in fails(1, "flow", "start", "orderz")


def test_schedules() -> None:
    """C5: by command: add, list, change, pause, resume, run now, remove."""
    out("schedules", "add", "nightly", "report", "--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--overlap", "skip")
    added = parsed("schedules", "add", "pulse", "ping", "--every", "30s", "--data", '{"n": 1}', "-q", "clock", "--json")
    assert (added["every"], added["data"], added["queue"], added["next_at"] is not None) == (
        "30s",
        {"n": 1},
        "clock",
        True,
    )
    assert [one["id"] for one in parsed("schedules", "list", "--json")] == ["nightly", "pulse"]
    lines = out("schedules", "list").splitlines()
    assert lines[1].startswith("nightly  report  default  0 2 * * * Europe/Berlin  in ")
    out("schedules", "add", "pulse", "ping", "--every", "1h", "--paused")
    changed = parsed("schedules", "list", "--json")[1]
    assert (changed["every"], changed["paused"], changed["queue"]) == ("1h", True, "default")
    out("schedules", "resume", "pulse")
    out("schedules", "pause", "nightly", "pulse")
    assert all(one["paused"] for one in parsed("schedules", "list", "--json"))
    id = out("schedules", "run", "pulse").strip()
    assert parsed("jobs", "show", id, "--json")["metadata"]["schedule"]["id"] == "pulse"
    out("schedules", "remove", "nightly")
    assert "no schedule 'nightly'" in fails(1, "schedules", "remove", "nightly")
    assert "no schedule 'nightly'" in fails(1, "schedules", "pause", "nightly")
    assert "no cron expression" in fails(2, "schedules", "add", "x", "y", "--cron", "x")
    assert "is not a duration" in fails(2, "schedules", "add", "x", "y", "--every", "5")
    assert "no date and time" in fails(2, "schedules", "add", "x", "y", "--at", "tomorrow")


def test_hosts() -> None:
    """I2: every host with its queues, runs and heartbeat."""

    async def beat(jobs: Client) -> None:
        import time

        now = int(time.time() * 1000)
        await jobs.backend.heartbeat(HostInfo("here:1", now - 5_000, now, b'{"queues":["a","b"],"runs":2,"pid":1}'))

    with_backend(beat)
    (host,) = parsed("hosts", "--json")
    assert (host["id"], host["queues"], host["runs"]) == ("here:1", ["a", "b"], 2)
    assert out("hosts").splitlines()[1].startswith("here:1  a, b    2     5s ago")


@pytest.mark.parametrize(
    "arguments",
    [
        ("enqueue", "n"),
        ("jobs", "list"),
        ("queues", "list"),
        ("state", "list"),
        ("hosts",),
        ("queues", "remove", "q", "-y"),
    ],
)
def test_memory_is_refused_where_it_cannot_work(arguments: tuple[str, ...]) -> None:
    """C3: memory:// works inside serve and run; other verbs say so and exit 2."""
    assert "inside the process of `serve` or `run`" in fails(2, *arguments, "--queue-url", "memory://")


def test_a_wrong_configuration_is_exit_78(tmp_path: Path) -> None:
    """B1: every verb that reads it says all that is wrong."""
    (tmp_path / "jobhost.toml").write_text("shutdown_timeout = 3\nque = 1\n")
    errors = fails(78, "jobs", "list")
    assert errors.splitlines() == [
        'jobhost.toml:1: shutdown_timeout: 3 has no unit: write "3s" for seconds or "3ms" for milliseconds',
        "jobhost.toml:2: que: unknown key (nearest known: queues)",
    ]


def test_an_unreachable_store_is_exit_69() -> None:
    """Exit code 69: the message says which file and why."""
    assert "error: " in fails(69, "jobs", "list", "--queue-url", "sqlite:////proc/nowhere/jobs.db")


def test_unknown_verbs_name_the_nearest() -> None:
    """Exit code 2, with the nearest verb."""
    assert "Did you mean 'enqueue'?" in fails(2, "enqeue")
    assert "Did you mean 'list'?" in fails(2, "jobs", "lst")


def verbs() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for verb, (module, _text) in VERBS.items():
        found.append((verb,))
        command = importlib.import_module(f"jobhost.cli.{module}").command
        if isinstance(command, LazyGroup):
            found += [(verb, below) for below in command.list_commands(click.Context(command))]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_has_help_with_examples(verb: tuple[str, ...]) -> None:
    """Design 8: --help everywhere, with examples."""
    text = out(*verb, "--help")
    assert "Usage: jobhost" in text
    if len(verb) == 2 or verb[0] not in ("jobs", "queues", "state", "flow", "schedules", "dead", "breakers"):
        assert f"  jobhost {' '.join(verb)}" in text.split("Examples:")[1]


def test_priority_is_explained() -> None:
    """Trap: "priority 1 is highest" here, "higher is higher" there: --help says BullMQ's rule."""
    assert "0 runs first, then 1, 2" in out("enqueue", "--help")


def test_help_imports_no_verb() -> None:
    """Start-up time is a feature: --help costs click alone."""
    heavy = "structlog", "asyncio", "anyio", "jobhost.client", "jobhost.cli.serve"
    code = (
        "import sys\nfrom jobhost.cli.main import cli\n"
        "try: cli(['--help'], prog_name='jobhost')\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
