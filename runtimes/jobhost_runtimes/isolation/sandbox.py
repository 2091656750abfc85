"""`sandbox`: against code that means harm, in namespaces of its own (bubblewrap): what it does not get is not there at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from ..bundle import BundleSpec
from ..errors import ChildStartError
from ..languages import Launch
from . import seccomp
from .settings import NETWORK_FILES, SYSTEM, SYSTEM_FILES, base, needed, reveal, trampoline, without_setpriv
from .users import users

GET_IT = "Debian and Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap"
PRIVATE = "/tmp"  # noqa: S108 - of the sandbox: nobody else is there
SHARED_MEMORY = 8 * 1024 * 1024


def wrap(bundle: BundleSpec, launch: Launch) -> Launch:
    """Raises ChildStartError where bubblewrap is missing."""
    bwrap, prlimit = shutil.which("bwrap"), shutil.which("prlimit")
    if bwrap is None or prlimit is None:
        raise ChildStartError(f'isolation = "sandbox" needs bubblewrap (bwrap) and prlimit: {GET_IT}')
    if not seccomp.supported():
        raise ChildStartError(
            f'isolation = "sandbox" is not there for {os.uname().machine}: x86_64 and aarch64 have it'
        )
    settings = base(bundle)
    paths = needed(bundle, launch)
    uid = None
    if os.geteuid() == 0:
        uid = settings["uid"] = users.take(bundle.uid_range)
        settings["reveal"] = reveal(bundle, paths)
    if bundle.limits.memory is not None:
        settings["limits"]["DATA"] = 2 * bundle.limits.memory
    disk = bundle.limits.disk or 64 * 1024 * 1024
    settings["limits"]["FSIZE"] = disk
    network = bool(bundle.limits.network)
    command = [
        bwrap,
        "--unshare-user",
        "--disable-userns",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    if not network:
        command.append("--unshare-net")
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]
    command += _system(SYSTEM_FILES if not network else (*SYSTEM_FILES, *NETWORK_FILES))
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_MEMORY), "--tmpfs", "/dev/shm"]  # noqa: S108 - of the sandbox
    command += ["--size", str(disk), "--tmpfs", PRIVATE]
    for path in paths:
        command += ["--ro-bind", path, path]
    for path in filter(os.path.exists, bundle.write):  # one may lie in what is bound above
        command += ["--bind", path, path]
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    root = bundle.root if bundle.root.is_dir() else bundle.root.parent
    command += ["--chdir", str(root)]
    inside = [prlimit]
    if bundle.limits.processes is not None:
        inside.append(f"--nproc={bundle.limits.processes}")
    env = launch.env | {"TMPDIR": PRIVATE, "HOME": PRIVATE}
    return replace(
        launch,
        argv=trampoline(settings, command),
        inside=[*inside, "--", *without_setpriv(launch.argv)],
        env=env,
        uid=uid,
        filter=seccomp.program(network),
        depth=2,
        moves=True,
    )


def _system(files: tuple[str, ...]) -> list[str]:
    """The machine's own programs, links as links."""
    command: list[str] = []
    for path in SYSTEM:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    for path in files:
        if os.path.exists(path):
            command += ["--ro-bind", path, path]
    return command
