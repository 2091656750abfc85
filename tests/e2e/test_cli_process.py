"""The command as a user has it: processes, signals, pipes, terminals and exit codes."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from . import hide_the_extra

JOBHOST = [sys.executable, "-m", "jobhost"]
LIMIT = 60
"""Seconds that any one command may take; none of them comes near it."""

SLOW = """
import time
def handler(job, ctx):
    ctx.logger.info("started")
    for part in range(600):
        time.sleep(0.1)
        if ctx.cancelled:
            raise SystemExit
"""
PROGRESS = """
async def handler(job, ctx):
    await ctx.progress(25)
    await ctx.progress({"step": "last"})
    ctx.logger.info("working", part=1)
    if job.data == "fail":
        raise ValueError("no width")
    return {"ok": True}
"""


def jobhost(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    environ = os.environ | (env or {})
    return subprocess.run(
        [*JOBHOST, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        **kwargs,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two Python handlers."""
    handlers = tmp_path / "handlers"
    handlers.mkdir()
    (handlers / "slow.py").write_text(SLOW)
    (handlers / "progress.py").write_text(PROGRESS)
    return tmp_path


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start a command in the project; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*JOBHOST, *arguments],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def event(stream: IO[str] | None, name: str) -> dict[str, Any]:
    """Read log lines up to the first of this event. The test's own time limit ends a wait for one that never comes."""
    assert stream is not None
    for line in stream:
        told: dict[str, Any] = json.loads(line)
        if told["event"] == name:
            return told
    raise AssertionError(f"the log ended without {name}")


def test_from_nothing_to_a_result(tmp_path: Path) -> None:
    """Done when: init, enqueue, serve, and the result is there; nothing of the user's is overwritten."""
    made = jobhost("init", "demo", cwd=tmp_path)
    assert made.returncode == 0
    assert "cd demo" in made.stdout
    demo = tmp_path / "demo"
    (demo / "handlers" / "hello.py").write_text(
        (demo / "handlers" / "hello.py").read_text().replace("Hello", "Good day")
    )
    again = jobhost("init", cwd=demo)
    assert "kept" in again.stderr
    assert (demo / ".gitignore").read_text().startswith("# The jobs and their state\n.jobhost/")
    assert jobhost("check", cwd=demo).stdout.startswith("ok: ")
    jobhost("enqueue", "hello", "--data", '{"name": "you"}', cwd=demo)
    assert jobhost("serve", "--burst", cwd=demo).returncode == 0
    shown = jobhost("jobs", "show", "1", "--json", cwd=demo)
    assert json.loads(shown.stdout)["result"] == {"text": "Good day, you!", "attempt": 1}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_starters_node_handler_runs(tmp_path: Path) -> None:
    """E1: both languages from the first minute."""
    jobhost("init", cwd=tmp_path)
    done = jobhost("run", "greet", "--data", '{"names": ["a", "b"]}', cwd=tmp_path)
    assert json.loads(done.stdout) == ["Hello, a!", "Hello, b!"]


def test_init_without_node_writes_no_handler_that_could_not_run(tmp_path: Path) -> None:
    """Node is used where present; where it is not, one sentence says how to get it."""
    hide_the_extra(tmp_path)
    made = jobhost("init", cwd=tmp_path, env={"PATH": "/nonexistent", "PYTHONPATH": str(tmp_path)})
    assert "pip install 'jobhost[node]'" in made.stderr
    assert not (tmp_path / "handlers" / "greet.js").exists()


def test_init_converts_an_older_configuration(tmp_path: Path) -> None:
    """B2: init --from config.json; its paths are relative to where the new file lies, and nothing is overwritten."""
    older = Path(__file__).parents[1] / "fixtures" / "config" / "older.json"
    shutil.copy(older, tmp_path / "config.json")
    made = jobhost("init", "new", "--from", "config.json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "new" / "jobhost.toml").read_text()
    assert 'path = "../handlers/core"' in text
    assert jobhost("init", "new", "--from", "config.json", cwd=tmp_path).returncode == 78
    (tmp_path / "config.json").write_text("[")
    broken = jobhost("init", "other", "--from", "config.json", cwd=tmp_path)
    assert (broken.returncode, broken.stderr.startswith("config.json: is not JSON")) == (78, True)


def test_a_host_serves_until_it_is_asked_to_stop(start: Start, project: Path) -> None:
    """C8, L1: enqueue --wait gets the result from a host of another process; SIGTERM drains and exits 0."""
    host = start("serve")
    event(host.stderr, "host.ready")
    done = jobhost("enqueue", "progress", "--wait", cwd=project)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ok": True})
    failed = jobhost("enqueue", "progress", "--data", '"fail"', "--attempts", "1", "--wait", cwd=project)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "failed: ValueError: no width" in failed.stderr
    assert "progress.py" in failed.stderr
    many = jobhost("enqueue", "progress", "--count", "3", "--wait", cwd=project)
    assert many.stdout.count('"ok": true') == 3
    listed = json.loads(jobhost("hosts", "--json", cwd=project).stdout)
    assert listed[0]["queues"] == ["default"]
    host.send_signal(signal.SIGTERM)
    event(host.stderr, "host.stopped")
    assert host.wait(LIMIT) == 0
    assert json.loads(jobhost("hosts", "--json", cwd=project).stdout) == []


def test_a_second_signal_stops_now(start: Start, project: Path) -> None:
    """L1: the first signal drains for `shutdown_timeout`, the second stops at once; the job goes back without an attempt."""
    (project / "jobhost.toml").write_text(
        'shutdown_timeout = "10m"\n[[bundles]]\npath = "handlers"\nlimits = { grace = "100ms" }\n'
    )
    jobhost("enqueue", "slow", "-q", "default", cwd=project)
    host = start("serve")
    event(host.stderr, "host.ready")
    until_active(project)
    host.send_signal(signal.SIGINT)
    event(host.stderr, "host.stopping")
    host.send_signal(signal.SIGINT)
    event(host.stderr, "host.stopped")
    assert host.wait(LIMIT) == 0
    job = json.loads(jobhost("jobs", "show", "1", "--json", cwd=project).stdout)
    assert (job["state"], job["attempts_made"]) == ("waiting", 0)


def until_active(project: Path) -> None:
    """Ask until the job runs; asking takes its time, so there is no need to sleep."""
    for _ in range(100):
        job = json.loads(jobhost("jobs", "show", "1", "--json", cwd=project).stdout)
        if job["state"] == "active":
            return
    raise AssertionError("the job was not started")


def test_interrupting_a_wait_leaves_the_job(start: Start, project: Path) -> None:
    """Ctrl-C: exit 130, no traceback, and the job stays in its queue."""
    waiting = start("enqueue", "progress", "-q", "default", "--wait")
    assert waiting.stderr is not None
    assert "no host is running" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 130
    assert "Traceback" not in errors
    assert json.loads(jobhost("jobs", "list", "--json", cwd=project).stdout)[0]["state"] == "waiting"


def test_a_reader_that_goes_away_is_no_error(start: Start, project: Path) -> None:
    """A broken pipe, as of `| head`: no traceback, and the shell's code for it."""
    jobhost("enqueue", "n", "-q", "q", "--count", "3000", cwd=project)
    listing = start("jobs", "list", "--limit", "3000", "--json")
    assert listing.stdout is not None
    listing.stdout.readline()
    listing.stdout.close()
    assert listing.wait(LIMIT) == 141
    assert listing.stderr is not None
    assert listing.stderr.read() == ""


def test_progress_is_a_bar_on_a_terminal(start: Start, project: Path) -> None:
    """D5, C8: --wait follows progress on a terminal: numbers as a bar, objects as text; stdout has the result alone."""
    host = start("serve")
    event(host.stderr, "host.ready")
    ours, theirs = pty.openpty()
    waiting = start("enqueue", "progress", "--wait", stderr=theirs)
    os.close(theirs)
    out, _ = waiting.communicate(timeout=LIMIT)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert json.loads(out) == {"ok": True}
    assert '{"step": "last"}' in shown


def test_burst_and_fail(project: Path) -> None:
    """--burst exits 0 whatever the jobs did; with --fail a failed one makes it 1."""
    for flags, code in (((), 0), (("--fail",), 1)):
        jobhost("enqueue", "progress", "-q", "default", "--data", '"fail"', "--attempts", "1", cwd=project)
        assert jobhost("serve", "--burst", *flags, cwd=project).returncode == code
    assert jobhost("serve", "--fail", cwd=project).returncode == 2


def test_a_log_of_json_holds_nothing_else(project: Path) -> None:
    """K1: warnings of the configuration are log lines too; the formats can be chosen."""
    (project / "jobhost.toml").write_text('http = "127.0.0.1:1"\n[[bundles]]\npath = "handlers"\n')
    served = jobhost("serve", "--burst", cwd=project, env={"JOBHOST_LOG_LEVEL": "warning"})
    (line,) = served.stderr.splitlines()
    assert json.loads(line)["text"] == "jobhost.toml:1: http: http is not served by this version"
    served = jobhost("serve", "--burst", "--log-format", "console", cwd=project)
    assert "host.ready" in served.stderr
    assert not served.stderr.startswith("{")


def test_run_needs_no_queue(project: Path) -> None:
    """`run`: logs live on stderr, the result on stdout; 1 if it fails; memory:// is fine; nothing is stored."""
    done = jobhost("run", "progress", "--queue-url", "memory://", cwd=project)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ok": True})
    assert "working part=1" in done.stderr
    failed = jobhost("run", "progress", "--data", "-", cwd=project, input='"fail"')
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "failed: ValueError: no width" in failed.stderr
    assert not (project / ".jobhost").exists()


def test_run_of_a_name_that_is_not_there(project: Path) -> None:
    """A6: the known names are listed, and a file that could not be loaded is said."""
    (project / "handlers" / "broken.py").write_text("def handler(:\n")
    failed = jobhost("run", "broken", cwd=project)
    assert failed.returncode == 1
    assert "known here: progress, slow" in failed.stderr
    assert "broken.py" in failed.stderr


def test_check_says_everything_that_is_wrong(project: Path) -> None:
    """A4, A5, B1: 78 for the configuration and for two handlers of one name, 1 for a broken file, 0 if all is right."""
    assert jobhost("check", cwd=project).stdout == "ok: 2 handlers in 1 bundles\n"
    (project / "handlers" / "broken.py").write_text("x = 1\ndef handler(:\n")
    broken = jobhost("check", cwd=project)
    assert broken.returncode == 1
    assert f"{project}/handlers/broken.py:2: " in broken.stdout
    report = json.loads(jobhost("check", "--json", cwd=project).stdout)
    assert (report["ok"], report["configuration"], len(report["handlers"])) == (False, [], 1)
    (project / "more").mkdir()
    (project / "more" / "slow.py").write_text(SLOW)
    twice = jobhost("check", "--bundle", "handlers", "--bundle", "more", cwd=project)
    assert twice.returncode == 78
    assert f"{project}/handlers/slow.py" in twice.stdout
    assert f"{project}/more/slow.py" in twice.stdout
    (project / "jobhost.toml").write_text("[queue.q]\n")
    wrong = jobhost("check", cwd=project)
    assert (wrong.returncode, wrong.stdout) == (78, "jobhost.toml:1: queue: unknown key (nearest known: queues)\n")


def test_a_handler_setting_that_is_wrong_names_its_file(project: Path) -> None:
    """A5: settings in code are checked by the same rules as the file's."""
    (project / "handlers" / "hasty.py").write_text("config = {'timeout': 30}\ndef handler(job): ...\n")
    checked = jobhost("check", cwd=project)
    assert checked.returncode == 1
    assert "hasty.py" in checked.stdout
    assert '30 has no unit: write "30s"' in checked.stdout


def test_the_catalogue(project: Path) -> None:
    """A3, A8: handlers --json, with defaults for what a handler doesn't say."""
    (project / "handlers" / "told.py").write_text(
        "config = {'name': 'told.it', 'queue': 'q', 'description': 'd', 'version': '2.0.0', 'author': 'me'}\ndef handler(job): ...\n"
    )
    found = {handler["name"]: handler for handler in json.loads(jobhost("handlers", "--json", cwd=project).stdout)}
    assert list(found) == ["progress", "slow", "told.it"]
    assert (found["told.it"]["queue"], found["told.it"]["version"], found["told.it"]["author"]) == ("q", "2.0.0", "me")
    assert (found["slow"]["description"], found["slow"]["version"], found["slow"]["author"]) == ("", "1.0.0", "Unknown")
    assert "handlers/told.py" in jobhost("handlers", cwd=project).stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["serve"], 78),
        (["check"], 78),
        (["handlers"], 78),
        (["jobs", "list", "--queue-url", "postgresql://127.0.0.1:1/jobs"], 69),
        (["jobs", "list", "--queue-url", "postgresql://127.0.0.1/jobs?schema=No-Name"], 78),
        (["jobs", "list", "--queue-url", "redis://127.0.0.1:1"], 69),
        (["jobs", "list", "--queue-url", "sqlite:////proc/none/jobs.db"], 69),
        (["serve", "--bundle", ".", "--queue-url", "sqlite:////proc/none/jobs.db"], 69),
        (["serve", "--nonsense"], 2),
        (["jobs", "list", "--queue-url", "memory://"], 2),
        (["jobs", "show", "1"], 1),
        (["--version"], 0),
    ],
)
def test_exit_codes(arguments: list[str], code: int, tmp_path: Path) -> None:
    """Design 8: 0 ok, 1 failed, 2 usage, 69 backend unreachable, 78 configuration; one message, no traceback."""
    done = jobhost(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_is_told_how_to_begin(tmp_path: Path) -> None:
    """B1: nothing to serve: the error says `jobhost init`."""
    assert "jobhost init" in jobhost("serve", cwd=tmp_path).stderr


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    """--debug or JOBHOST_DEBUG: the traceback besides the message."""
    assert "Traceback" in jobhost("--debug", "serve", cwd=tmp_path).stderr
    assert "Traceback" in jobhost("serve", cwd=tmp_path, env={"JOBHOST_DEBUG": "1"}).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, tmp_path: Path) -> None:
    """Shell completion: the script is one the shell takes, and it completes verbs, nested ones too."""
    script = jobhost("completion", shell, cwd=tmp_path)
    assert (script.returncode, "_JOBHOST_COMPLETE" in script.stdout) == (0, True)
    if shutil.which(shell) and shell == "bash":
        subprocess.run(["bash", "-n"], input=script.stdout, text=True, check=True, timeout=LIMIT)
    assert jobhost("completion", cwd=tmp_path, env={"SHELL": f"/bin/{shell}"}).stdout == script.stdout
    words = {"_JOBHOST_COMPLETE": "bash_complete", "COMP_WORDS": "jobhost jobs re", "COMP_CWORD": "2"}
    assert jobhost(cwd=tmp_path, env=words).stdout.splitlines() == ["plain,retry", "plain,remove"]


def test_completion_of_an_unknown_shell_is_wrong_use(tmp_path: Path) -> None:
    """Exit 2 names the shells there are."""
    done = jobhost("completion", cwd=tmp_path, env={"SHELL": "/bin/other"})
    assert (done.returncode, "bash, zsh, fish" in done.stderr) == (2, True)
