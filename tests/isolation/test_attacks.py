"""Attacks at every level: each bites at a plain child, and none at `restricted` and `sandbox`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes import isolation
from jobhost_runtimes.isolation.settings import CONFINE

from tests.contract.hosting import PATIENCE, hosted, result_of

from .attacks import AS_ROOT, ATTACKS

pytestmark = pytest.mark.anyio
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE = ["readsASecret", "readsAFile", "writesAFile", "changesItsOwnCode", "readsTheEnvironmentOfTheHost", "signalsTheHost",
        "endsAnotherProcess", "runsAnotherProgram", "readsInAThread", "connectsToTheMachine", "connectsToAUnixSocket", "listens",
        "sendsADatagram"]  # fmt: skip
NEEDS_BWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None and not os.environ.get("CI"), reason="NO bwrap: `sandbox` IS NOT TESTED"
)
LEVELS = ["restricted", pytest.param("sandbox", marks=NEEDS_BWRAP)]


@contextlib.contextmanager
def targets(folder: Path) -> Iterator[dict[str, Any]]:
    """What attacks reach for, outside of any bundle."""
    folder.mkdir()
    folder.chmod(0o777)
    for name, mode in (("secret", 0o600), ("file", 0o666), ("victim_file", 0o666)):
        (folder / name).write_text("nobody's but the host's")
        (folder / name).chmod(mode)
    abstract = f"jobhost-{os.getpid()}-{folder.name}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, _listening(str(folder / "socket")), _listening("\0" + abstract):
        (folder / "socket").chmod(0o777)
        names = {name: str(folder / name) for name in ("secret", "file", "victim_file", "socket")}
        yield {
            **names,
            "folder": str(folder),
            "abstract": abstract,
            "port": tcp.getsockname()[1],
            "host": os.getpid(),
            "variable": "PATH=",
        }


@contextlib.contextmanager
def _listening(address: str) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(address)
        one.listen()
        yield


@contextlib.contextmanager
def victim() -> Iterator[int]:
    """A process of the host's user."""
    with subprocess.Popen(["sleep", "300"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def bundle_of(folder: Path, language: str, level: str) -> dict[str, Any]:
    """The attacks in a folder of their own: some change their own file."""
    folder.mkdir()
    name = "attacks.py" if language == "python" else "attacks.js"
    shutil.copy(HERE / name, folder / f"attack{Path(name).suffix}")
    # At `process`, which stands for a plain child here, the host counts them and may look just when it has many.
    limits = {
        "processes": 1000 if level == "process" else 32,
        "open_files": 256,
        "disk": "64MiB",
        "memory": "1GiB",
        "grace": "100ms",
    }
    return {"path": folder, "isolation": level, "limits": limits, "pool": {"children": 1}}


async def outcomes(tmp_path: Path, language: str, level: str, names: list[str]) -> dict[str, Any]:
    """What each attack got."""
    found: dict[str, Any] = {}
    with targets(tmp_path / "t") as t:
        async with hosted(MemoryBackend(), bundle_of(tmp_path / "attack", language, level)) as host:
            assert host.host.catalogue.problems == []
            for name in names:
                with victim() as pid:
                    result = result_of(
                        await host.run("attack", {"attack": name, "t": {**t, "victim": pid}}, timeout_ms=20_000)
                    )
                found[name] = result["got"] if result["got"] else result.get("held")
                found[name] = (bool(result["got"]), found[name])
    return found


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> str:
    """A child of which nothing is taken: what every attack has to bite at, or it would prove nothing."""
    monkeypatch.setitem(isolation.LEVELS, "process", lambda bundle, launch: launch)
    monkeypatch.setattr("jobhost.levels.hold", _nothing)
    monkeypatch.setattr("jobhost.dispatch.host.hold", _nothing)
    return "process"


async def _nothing(specs: Any, confined: bool) -> None:
    return None


def bites() -> list[str]:
    return [name for name in ATTACKS if name not in AS_ROOT or os.geteuid() == 0]


async def test_attacks_bite_at_a_plain_child(plain: str, tmp_path: Path) -> None:
    """The checks below can fail."""
    found = await outcomes(tmp_path, "python", plain, bites())
    assert {name: how for name, (bit, how) in found.items() if not bit} == {}


async def test_node_attacks_bite_at_a_plain_child(plain: str, tmp_path: Path) -> None:
    """The same in Node."""
    found = await outcomes(tmp_path, "node", plain, NODE)
    assert {name: how for name, (bit, how) in found.items() if not bit} == {}


@pytest.mark.parametrize("level", LEVELS)
async def test_attacks_are_held(level: str, tmp_path: Path) -> None:
    """E3: files, secrets, network, processes, the kernel."""
    found = await outcomes(tmp_path, "python", level, [name for name in ATTACKS if name not in NOT_HELD(level)])
    assert {name: how for name, (bit, how) in found.items() if bit} == {}


@pytest.mark.parametrize("level", LEVELS)
async def test_node_attacks_are_held(level: str, tmp_path: Path) -> None:
    """E3: the same in Node."""
    found = await outcomes(tmp_path, "node", level, NODE)
    assert {name: how for name, (bit, how) in found.items() if bit} == {}


def NOT_HELD(level: str) -> set[str]:
    """What the table of promises leaves out: in a sandbox a process number names somebody else, or nobody."""
    if level == "restricted" and os.geteuid() != 0:
        return {"forks_and_forks", "fills_the_disk"}
    if level == "restricted":
        return {"fills_the_disk"}
    return set()


@pytest.mark.skipif(os.geteuid() != 0, reason="this run is another user's already")
async def test_the_same_as_another_user(tmp_path: Path) -> None:
    """All of this file once more, with a host that is not root."""
    uid = 65_533
    settings = {"uid": uid, "reveal": [[path, False, False] for path in (str(ROOT), sys.prefix, sys.base_prefix)]}
    with tempfile.TemporaryDirectory(prefix="jh-") as home:  # short: a Unix socket's path has to be
        os.chown(home, uid, uid)
        command = [
            sys.executable,
            CONFINE,
            json.dumps(settings),
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        command += ["--basetemp", f"{home}/t", str(Path(__file__).relative_to(ROOT))]
        env = {"PATH": os.environ["PATH"], "HOME": home, "CI": os.environ.get("CI", ""), "PYTHONDONTWRITEBYTECODE": "1"}
        with anyio.fail_after(PATIENCE * 6):
            done = await anyio.run_process(command, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stdout.decode()[-4000:] + done.stderr.decode()[-2000:]
    assert b"6 passed" in done.stdout
