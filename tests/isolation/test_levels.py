"""What the levels do beside holding attacks: limits, trees that end, grants, interpreters of one's own, and refusing to be weaker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.errors import ConfigurationError
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.sqlite import SqliteBackend
from jobhost_runtimes import isolation
from jobhost_runtimes.isolation import seccomp
from jobhost_runtimes.isolation.examine import PROMISES, WORDS
from jobhost_runtimes.languages import python_home

from tests.contract.hosting import PATIENCE, error_of, hosted, result_of

from .test_attacks import LEVELS, NEEDS_BWRAP

pytestmark = pytest.mark.anyio


def bundle(folder: Path, level: str, code: str, name: str = "work.py", **more: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(code)
    return {"path": folder, "isolation": level, "pool": {"children": 1}, **more}


def running(word: str) -> list[int]:
    """Processes whose command has this word."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if word in Path(entry.path, "cmdline").read_text().split("\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def none_runs(word: str) -> None:
    with anyio.fail_after(PATIENCE):
        while running(word):
            await anyio.sleep(0.02)


DAEMON = """
import os, time

def handler(job, ctx):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 3)
            os.execv("/bin/sleep", [job.data["word"], "300"])
        os._exit(0)
    os.wait()
    if job.data["then"] == "hang":
        while True:
            time.sleep(1)
"""


@pytest.mark.parametrize("level", LEVELS)
async def test_a_daemon_does_not_outlive_its_child(level: str, tmp_path: Path) -> None:
    """G2: processes that left the group and the session end with the child: after a timeout, and when the host stops."""
    if level == "restricted" and os.geteuid() != 0:
        pytest.skip("not promised: without users of their own a daemon can't be told from other processes")
    word = f"daemon-of-{level}-{os.getpid()}"
    table = bundle(tmp_path / "b", level, DAEMON, limits={"grace": "100ms"})
    async with hosted(MemoryBackend(), table) as host:
        job = await host.run("work", {"word": word, "then": "hang"}, attempts=1, timeout_ms=1_000)
        assert error_of(job)["type"] == "TimeoutError"
        await none_runs(word)
        await host.run("work", {"word": word, "then": "return"})
        assert len(running(word)) == 1, "a daemon lives as long as its child"
    await none_runs(word)


@NEEDS_BWRAP
async def test_a_sandbox_ends_with_a_host_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the host: the whole tree goes, a daemon included; nothing had a chance to clean up."""
    word = f"daemon-of-killed-{os.getpid()}"
    bundle(tmp_path / "b", "sandbox", DAEMON)
    text = f'queue_url = "sqlite:///{tmp_path}/q.db"\nhttp = "off"\n[[bundles]]\npath = "b"\nisolation = "sandbox"\n'
    (tmp_path / "jobhost.toml").write_text(text)
    command = [sys.executable, "-m", "jobhost"]
    with subprocess.Popen([*command, "serve"], cwd=tmp_path, stderr=subprocess.DEVNULL) as host:
        try:
            data = json.dumps({"word": word, "then": "hang"})
            subprocess.run(
                [*command, "enqueue", "work", "-q", "default", "--data", data],
                cwd=tmp_path,
                check=True,
                capture_output=True,
            )
            with anyio.fail_after(PATIENCE):
                while not running(word):
                    await anyio.sleep(0.02)
        finally:
            host.send_signal(signal.SIGKILL)
            host.wait(PATIENCE)
    await none_runs(word)


async def test_a_daemon_of_a_plain_process_ends_with_its_run_too(tmp_path: Path) -> None:
    """`process`: `serve` becomes the parent of what its children leave behind, and ends it; best effort, as promised."""
    word = f"daemon-of-process-{os.getpid()}"
    bundle(tmp_path / "b", "process", DAEMON)
    limits = "[bundles.limits]\ngrace = '100ms'\n[bundles.pool]\nreuse = 'never'\n"
    text = f'queue_url = "sqlite:///{tmp_path}/q.db"\nhttp = "off"\n[[bundles]]\npath = "b"\n{limits}'
    (tmp_path / "jobhost.toml").write_text(text)
    command = [sys.executable, "-m", "jobhost"]
    for then in ("hang", "return"):
        enqueue = [
            "enqueue",
            "work",
            "-q",
            "default",
            "--timeout",
            "1s",
            "--attempts",
            "1",
            "--data",
            json.dumps({"word": word, "then": then}),
        ]
        subprocess.run([*command, *enqueue], cwd=tmp_path, check=True, capture_output=True)
    with subprocess.Popen([*command, "serve"], cwd=tmp_path, stderr=subprocess.DEVNULL) as host:
        try:
            backend = SqliteBackend(tmp_path / "q.db")
            await backend.open()
            with anyio.fail_after(PATIENCE):
                while (counts := await backend.counts("default"))["completed"] + counts["failed"] < 2:
                    await anyio.sleep(0.02)
            await backend.close()
            await none_runs(word)
            assert host.poll() is None
        finally:
            host.terminate()
            host.wait(PATIENCE)


HUNGRY = """
def handler(job, ctx):
    held = [bytearray(8 << 20) for _ in range(80)]
    for one in held:
        for at in range(0, len(one), 4096):
            one[at] = 1
    return len(held)
"""


@pytest.mark.parametrize("level", ["process", *LEVELS])
async def test_memory_is_limited(level: str, tmp_path: Path) -> None:
    """G4. Row: memory limit: the error names it; the next run is served by another child."""
    table = bundle(tmp_path / "b", level, HUNGRY, limits={"memory": "128MiB"})
    async with hosted(MemoryBackend(), table) as host:
        error = error_of(await host.run("work", attempts=1))
        assert error["type"] in ("MemoryLimitError", "MemoryError")


FULL = """
import os

def handler(job, ctx):
    path = os.path.join(os.environ["TMPDIR"], "large")
    written = 0
    try:
        for n in range(100):
            with open(f"{path}{n}", "wb") as file:
                written += file.write(bytes(1 << 20))
    except OSError as error:
        return [written >> 20, error.strerror]
    return [written >> 20, ""]
"""


@NEEDS_BWRAP
async def test_a_sandbox_has_so_much_disk(tmp_path: Path) -> None:
    """Its private folder is empty at first, and full at its size."""
    async with hosted(MemoryBackend(), bundle(tmp_path / "b", "sandbox", FULL, limits={"disk": "8MiB"})) as host:
        written, error = result_of(await host.run("work"))
        assert 6 <= written <= 8
        assert error == "No space left on device"


GRANTED = """
import os, socket

def handler(job, ctx):
    got = []
    for name, attempt in {
        "read": lambda: open(job.data["read"] + "/file").read(),
        "write": lambda: open(job.data["write"] + "/out", "w").write("x"),
        "not written": lambda: open(job.data["read"] + "/out", "w").write("x"),
        "network": lambda: socket.create_connection(("127.0.0.1", job.data["port"]), 2).close(),
        "secret": lambda: os.environ["GIVEN"],
        "unix": lambda: socket.socket(socket.AF_UNIX),
    }.items():
        try:
            attempt()
            got.append(name)
        except (OSError, KeyError):
            pass
    return got
"""


@pytest.mark.parametrize("level", LEVELS)
async def test_what_is_granted_passes_and_nothing_else(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths, network and secrets by name."""
    import socket

    monkeypatch.setenv("GIVEN", "value")
    for name in ("r", "w"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "r" / "file").write_text("x")
    tmp_path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        data = {"read": str(tmp_path / "r"), "write": str(tmp_path / "w"), "port": server.getsockname()[1]}
        table = bundle(tmp_path / "b", level, GRANTED)
        async with hosted(MemoryBackend(), table) as host:
            assert result_of(await host.run("work", data)) == []
        table |= {"read": [data["read"]], "write": [data["write"]], "env": ["GIVEN"], "limits": {"network": True}}
        async with hosted(MemoryBackend(), table) as host:
            assert result_of(await host.run("work", data)) == ["read", "write", "network", "secret"]
        assert (tmp_path / "w" / "out").read_text() == "x"


NAMED = """
from jobhost_sdk import handler

@handler("other", queue="billing", timeout="10h", attempts=99)
def run(job, ctx):
    return 1
"""


@pytest.mark.parametrize("level", LEVELS)
async def test_names_and_queues_are_granted(level: str, tmp_path: Path) -> None:
    """What a confined bundle says of itself is a request; what is refused is told with how to allow it."""
    table = bundle(tmp_path / "b", level, NAMED)
    async with hosted(MemoryBackend(), table) as host:
        texts = " ".join(str(problem) for problem in host.host.catalogue.problems)
        assert 'names = ["other"] in [[bundles]] would allow it' in texts
        assert 'queues = ["billing"] in [[bundles]] would allow it' in texts
        assert host.host.catalogue.names() == []
    async with hosted(MemoryBackend(), table | {"names": ["oth*"], "queues": ["billing"]}) as host:
        [entry] = host.host.catalogue.entries
        assert (entry.name, entry.queue, entry.settings.timeout, entry.settings.attempts) == (
            "other",
            "billing",
            3_600_000,
            3,
        )


@pytest.mark.parametrize("level", LEVELS)
async def test_one_handler_for_all_jobs_gets_no_queue_that_is_not_granted(level: str, tmp_path: Path) -> None:
    """A processor of a whole queue: which one is the bundle's to say, not its code's."""
    table = bundle(tmp_path / "b", level, NAMED) | {"job": "*"}
    async with hosted(MemoryBackend(), table) as host:
        assert host.host.catalogue.entries == []
        assert 'queues = ["billing"]' in " ".join(map(str, host.host.catalogue.problems))
    async with hosted(MemoryBackend(), table | {"queues": ["images"]}) as host:
        assert [(entry.name, entry.queue) for entry in host.host.catalogue.entries] == [("*", "images")]


INSIDE = """
import os

def handler(job, ctx):
    here = os.path.dirname(__file__)
    open(os.path.join(here, "out", "written"), "w").write("x")
    try:
        open(os.path.join(here, "beside"), "w")
    except OSError:
        return "held"
"""


@pytest.mark.parametrize("level", LEVELS)
async def test_a_folder_of_the_bundle_can_be_granted_for_writing(level: str, tmp_path: Path) -> None:
    """It alone: the files beside it stay as they are."""
    table = bundle(tmp_path / "b", level, INSIDE)
    out = tmp_path / "b" / "out"
    out.mkdir()
    out.chmod(0o777)
    async with hosted(MemoryBackend(), table | {"write": [str(out)]}) as host:
        assert result_of(await host.run("work")) == "held"
    assert (out / "written").read_text() == "x"


WHERE = """
import sys, helper

def handler(job, ctx):
    return [sys.prefix, helper.NAME]
"""


@pytest.mark.parametrize("level", ["process", *LEVELS])
async def test_an_environment_of_its_own_works_at_every_level(level: str, tmp_path: Path) -> None:
    """A virtual environment beside the bundle, with packages, below a folder that others may not enter; and `node_modules`."""
    home = tmp_path / "home"
    home.mkdir()
    environment = home / ".venv"
    venv.create(environment, symlinks=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "helper.py").write_text('NAME = "of the environment"\n')
    (home / "node_modules" / "helper").mkdir(parents=True)
    (home / "node_modules" / "helper" / "index.js").write_text('module.exports = "of node_modules";\n')
    python = bundle(home / "b", level, WHERE, python=str(environment / "bin" / "python"))
    node = bundle(home / "n", level, 'const h = require("helper"); module.exports = async () => h;\n', "ask.js")
    home.chmod(0o700)
    async with hosted(MemoryBackend(), python, node) as host:
        assert [str(problem) for problem in host.host.catalogue.problems] == []
        assert result_of(await host.run("work")) == [str(environment), "of the environment"]
        assert result_of(await host.run("ask")) == "of node_modules"


LINKS = """
import os

def handler(job, ctx):
    got = []
    for name in ("shared", "file"):
        try:
            path = os.path.join(os.path.dirname(__file__), name)
            got.append(os.listdir(path) if os.path.isdir(path) else open(path).read())
        except OSError:
            pass
    return got
"""


@pytest.mark.parametrize("level", LEVELS)
async def test_links_of_a_bundle_lead_nowhere(level: str, tmp_path: Path) -> None:
    """Whoever writes a bundle could link to anything: neither a folder nor a file nor an interpreter's home is granted by a link."""
    private = tmp_path / "private"
    (private / "bin").mkdir(parents=True)
    (private / "key").write_text("secret")
    (private / "bin" / "tool").symlink_to(os.path.realpath(sys.executable))
    table = bundle(tmp_path / "b", level, LINKS)
    (tmp_path / "b" / "shared").symlink_to(private)
    (tmp_path / "b" / "file").symlink_to(private / "key")
    (tmp_path / "b" / "node_modules").symlink_to(private)
    async with hosted(MemoryBackend(), table) as host:
        assert result_of(await host.run("work")) == []
    tool = private / "bin" / "tool"
    tool.unlink()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    (tmp_path / "b" / "python").symlink_to(tool)
    assert str(private) not in python_home(str(tmp_path / "b" / "python"))


@pytest.mark.parametrize("level", LEVELS)
async def test_a_blocking_handler_is_stopped_and_a_willing_one_told(level: str, tmp_path: Path) -> None:
    """G2: cancel reaches the handler through the level; what does not listen is stopped after its grace."""
    code = """
import time

def handler(job, ctx):
    ctx.logger.info("running")
    while job.data == "deaf" or not ctx.cancelled:
        time.sleep(0.01)
    return "heard"
"""
    table = bundle(tmp_path / "b", level, code, limits={"grace": "200ms"}, pool={"children": 2})
    async with hosted(MemoryBackend(), table) as host:
        for data in ("deaf", "willing"):
            id = await host.add("work", data, attempts=1)
            await host.logged(id, "running")
            await host.backend.cancel("default", id)
            job = await host.done(id)
            assert error_of(job)["type"] == "CancelledError"


# Never weaker than asked ----------------------------------------------------------------------------------------------


async def test_a_level_that_keeps_less_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 78: the probe is not believed on its word but on what it could do, and each thing it could is named."""
    monkeypatch.setitem(isolation.LEVELS, "restricted", isolation.process.wrap)
    table = bundle(tmp_path / "b", "restricted", "def handler(job, ctx): return 1")
    with pytest.raises(ConfigurationError) as caught:
        async with hosted(MemoryBackend(), table):
            pass
    said = str(caught.value)
    assert (
        'bundle b: isolation = "restricted" can\'t be kept on this machine: a child at this level should be one that'
        in said
    )
    assert WORDS["files"] in said
    assert WORDS["network"] in said
    assert "jobhost doctor" in said


async def test_a_sandbox_without_bubblewrap_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install; no handler has run."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    ran = tmp_path / "ran"
    table = bundle(tmp_path / "b", "sandbox", f"open({str(ran)!r}, 'w')\ndef handler(job, ctx): return 1")
    with pytest.raises(ConfigurationError, match=r"needs bubblewrap.*apt install bubblewrap"):
        async with hosted(MemoryBackend(), table):
            pass
    assert not ran.exists()


@NEEDS_BWRAP
async def test_bubblewrap_that_may_not_make_namespaces_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: its own words, and the remedy."""
    fake = Path(tempfile.mkdtemp(prefix="jh-")) / "bwrap"  # where another user can go
    fake.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace, likely because of a policy' >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    fake.parent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(
        ConfigurationError, match=r'No permissions to create new namespace.*use isolation = "restricted" there'
    ):
        async with hosted(MemoryBackend(), bundle(tmp_path / "b", "sandbox", "def handler(job, ctx): return 1")):
            pass


def doctor(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobhost", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=False)


@NEEDS_BWRAP
def test_doctor_says_what_holds() -> None:
    """For people and for programs."""
    said = doctor()
    assert said.returncode == 0, said.stdout + said.stderr
    for level in PROMISES:
        assert f"{level:<11} holds" in said.stdout
    assert "  NO " not in said.stdout
    listed = json.loads(doctor("--json").stdout)
    assert [(one["level"], one["holds"], one["missing"]) for one in listed["levels"]] == [
        (level, True, []) for level in PROMISES
    ]
    assert all(one["kept"][name] for one in listed["levels"] for name in one["promised"])


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    """Exit 1, why, and how to get it."""
    for name in ("prlimit", "python3"):
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(found)
    said = doctor(PATH=str(tmp_path))
    assert said.returncode == 1
    assert "sandbox     CAN'T BE USED HERE" in said.stdout
    assert "apt install bubblewrap" in said.stdout


# The filter -----------------------------------------------------------------------------------------------------------


def verdict(program: bytes, number: int, arch: int, *args: int) -> int:
    """Run a filter as the kernel would."""
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(*args, 0, 0, 0, 0, 0, 0)[:6])
    at = accumulator = 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == seccomp.RETURN:
            return int(k)
        elif code == 0x54:
            accumulator &= k
        else:
            test = {
                seccomp.EQUAL: accumulator == k,
                seccomp.AT_LEAST: accumulator >= k,
                seccomp.ANY_BIT: bool(accumulator & k),
            }[code]
            at += yes if test else no


@pytest.mark.parametrize("machine", sorted(seccomp.MACHINES))
@pytest.mark.parametrize("network", [False, True])
def test_the_filter_call_by_call(machine: str, network: bool) -> None:
    """Both architectures, on any machine: each refused call, sockets by family and kind, clone by its flags, other architectures."""
    found = seccomp.MACHINES[machine]
    looked_at = seccomp._LOOKED_AT[machine]
    program = seccomp.program(network, machine=machine)

    def ask(number: int, *args: int, arch: int = found.audit) -> int:
        return verdict(program, number, arch, *args)

    refused = {found.numbers[name] for name in found.numbers}
    for number in range(500):
        if number in refused:
            assert ask(number) == seccomp.REFUSE | 1, number
        elif number not in looked_at.values():
            assert ask(number) == seccomp.ALLOW, number
    assert ask(0, arch=0x40000003) == seccomp.KILL
    if machine == "x86_64":
        assert ask(0x40000000) == seccomp.KILL
    assert ask(looked_at["clone3"]) == seccomp.REFUSE | 38
    assert ask(looked_at["clone"], 0x3D0F00) == seccomp.ALLOW, "a thread"
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert ask(looked_at["clone"], flag | 17) == seccomp.REFUSE | 1
    assert ask(looked_at["ioctl"], 0, 0x5412) == seccomp.REFUSE | 1
    assert ask(looked_at["ioctl"], 0, 0x5413) == seccomp.ALLOW
    for family in range(46):
        allowed = network and family in (2, 10, 16)
        assert ask(looked_at["socket"], family, 1 | 0o2000000) == (seccomp.ALLOW if allowed else seccomp.REFUSE | 13), (
            family
        )
        raw = network and family == 16
        assert ask(looked_at["socket"], family, 3) == (seccomp.ALLOW if raw else seccomp.REFUSE | 13), family
