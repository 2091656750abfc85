"""What a level really keeps on this machine: the level is run once with a probe, and its answers are held against what is promised."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ..bundle import BundleSpec
from ..errors import ChildStartError
from ..languages import Launch, python_home
from ..process import child_environment, limit_from_outside, readable
from . import LEVELS
from .users import users

PROBE = Path(__file__).with_name("probe.py")
PATIENCE = 20
"""Seconds for a probe."""
EVERY = ("environment", "no_new_privileges", "no_core_dumps", "open_files")
HOSTILE = (
    "not_root", "no_capabilities", "secrets", "files", "permissions", "writing", "network", "unix_sockets", "signals",
    "processes_of_others", "system_calls", "namespaces", "debugging", "private_folder",
)  # fmt: skip
PROMISES: dict[str, tuple[str, ...]] = {
    "process": EVERY,
    "restricted": (*EVERY, *HOSTILE),
    "sandbox": (*EVERY, *HOSTILE, "own_process_tree", "number_of_processes"),
}
"""What each level keeps, by the probe's names."""
WORDS = {
    "environment": "sees no variable of the host that was not given to it",
    "no_new_privileges": "gains no privileges from set-user-id programs",
    "no_core_dumps": "leaves no core dumps",
    "open_files": "opens no more files than its limit",
    "not_root": "runs as a user that is not root",
    "no_capabilities": "has no capabilities",
    "secrets": "reads no file that only the host's user may read",
    "files": "reads no file but its bundle, its interpreter and the system's libraries",
    "permissions": "changes no permissions of other files",
    "writing": "writes no file but in its own folder",
    "network": "reaches no network, loopback included",
    "unix_sockets": "reaches no server by a Unix socket",
    "signals": "signals no process of the host",
    "processes_of_others": "sees nothing of other processes",
    "system_calls": "makes only system calls that handlers need",
    "namespaces": "makes no namespaces of its own",
    "debugging": "traces no process",
    "own_process_tree": "lives in a process tree of its own that dies as one",
    "private_folder": "has an empty folder of its own for temporary files",
    "number_of_processes": "starts no more processes than its limit",
}
NO_NAMESPACES = (
    "the kernel or the container forbids namespaces, as the default profiles of Docker and Kubernetes and Ubuntu 24.04 do: use "
    'isolation = "restricted" there, or allow them (docker run --security-opt seccomp=FILE; sysctl '
    "kernel.apparmor_restrict_unprivileged_userns=0)"
)
REMEDIES = (
    ("No permissions to creat", NO_NAMESPACES),
    ("Creating new namespace failed", NO_NAMESPACES),
    (
        "Landlock",
        'the kernel is too old or has Landlock switched off (lsm= on its command line): use isolation = "sandbox", or run the '
        "host as root, so that children get users of their own",
    ),
)
"""What to do about an error, known by words in it."""


@dataclass(slots=True, frozen=True)
class Finding:
    """`kept`: what the probe could not get; None where it did not run, with `error` saying why and `remedy` what to do."""

    level: str
    kept: dict[str, bool] | None
    missing: list[str]
    error: str = ""
    remedy: str = ""

    @property
    def holds(self) -> bool:
        return self.kept is not None and not self.missing

    @property
    def reason(self) -> str:
        """Why it does not hold, in one sentence, with what to do."""
        if self.kept is None:
            return f"{self.error}{f' ({self.remedy})' if self.remedy else ''}"
        return "; ".join(f"a child at this level should be one that {WORDS[name]}, and is not" for name in self.missing)


def examine(bundle: BundleSpec) -> Finding:
    """Run the probe at a bundle's level with its grants. Blocks for some tens of milliseconds."""
    with tempfile.TemporaryDirectory(prefix="jobhost-probe-") as name:
        return _examine(bundle, Path(name))


def _examine(bundle: BundleSpec, folder: Path) -> Finding:
    folder.chmod(0o777)
    (folder / "file").write_text("readable for all")
    (folder / "secret").write_text("readable for its owner")
    (folder / "secret").chmod(0o600)
    variable = f"JOBHOST_PROBE_{secrets.token_hex(4)}"
    os.environ[variable] = "the host's own"
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
            local.bind(str(folder / "socket"))
            local.listen()
            (folder / "socket").chmod(0o777)
            settings = {
                "pid": os.getpid(),
                "variable": variable,
                "secret": str(folder / "secret"),
                "file": str(folder / "file"),
                "folder": str(folder),
                "port": server.getsockname()[1],
                "socket": str(folder / "socket"),
                "open_files": bundle.limits.open_files or 1 << 20,
                "processes": bundle.limits.processes or 1 << 30,
            }
            return _judged(bundle, *_run(bundle, settings))
    finally:
        del os.environ[variable]


def _run(bundle: BundleSpec, settings: dict[str, object]) -> tuple[dict[str, bool] | None, str]:
    """The probe's answers, or None and what was said instead."""
    argv = [sys.executable, "-I", "-S", str(PROBE), json.dumps(settings)]
    reads = (*python_home(sys.executable), str(PROBE.parent))
    bundle = replace(bundle, language="python", interpreter=None)
    try:
        launch = LEVELS[bundle.isolation](bundle, Launch(argv, False, {}, reads))
    except ChildStartError as error:
        return None, str(error)
    passed = []
    command = launch.argv
    try:
        if launch.filter is not None:
            passed.append(readable(launch.filter))
            command = [*command, "--seccomp", str(passed[0])]
        if launch.inside:
            command = [*command, "--", *launch.inside]
        env = child_environment(bundle.env) | launch.env
        started = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            pass_fds=passed,
            text=True,
        )
        with started:
            limit_from_outside(started.pid, launch)
            try:
                out, said = started.communicate("go\n", PATIENCE)
            finally:
                started.kill()
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    finally:
        for descriptor in passed:
            os.close(descriptor)
        if launch.uid is not None:
            users.release(launch.uid)
        if launch.private is not None:
            shutil.rmtree(launch.private, ignore_errors=True)
    try:
        answers: dict[str, bool] = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        lines = said.strip().splitlines()
        return None, lines[-1] if lines else f"the probe ended with code {started.returncode} and said nothing"
    return answers, ""


def _judged(bundle: BundleSpec, kept: dict[str, bool] | None, error: str) -> Finding:
    if kept is None:
        remedy = next((text for word, text in REMEDIES if word in error), "")
        return Finding(bundle.isolation, None, [], error, remedy)
    promised = [name for name in PROMISES[bundle.isolation] if not (name == "network" and bundle.limits.network)]
    return Finding(bundle.isolation, kept, [name for name in promised if not kept[name]])
