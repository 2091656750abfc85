"""`restricted`: against code that means harm, where namespaces can't be made: Landlock and seccomp, and never as root."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace

from ..bundle import BundleSpec
from ..errors import ChildStartError
from ..languages import Launch
from . import seccomp
from .settings import NETWORK_FILES, SYSTEM, SYSTEM_FILES, base, needed, reveal, trampoline, without_setpriv
from .users import users

ABI, ABI_WITH_SIGNALS = 1, 6
"""Of Landlock. Without a user of its own a child could signal the host's processes: only version 6 keeps it from that."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def wrap(bundle: BundleSpec, launch: Launch) -> Launch:
    """Raises ChildStartError on a machine without a table of system calls."""
    if not seccomp.supported():
        raise ChildStartError(
            f'isolation = "restricted" is not there for {os.uname().machine}: x86_64 and aarch64 have it'
        )
    settings = base(bundle)
    paths = needed(bundle, launch)
    uid = users.take(bundle.uid_range) if os.geteuid() == 0 else None
    private = tempfile.mkdtemp(prefix="jobhost-child-")
    if uid is not None:
        settings["uid"] = uid
        os.chown(private, uid, uid)
        settings["reveal"] = reveal(bundle, paths)
        if bundle.limits.processes is not None:
            settings["limits"]["NPROC"] = bundle.limits.processes
    if bundle.limits.memory is not None:
        settings["limits"]["DATA"] = 2 * bundle.limits.memory  # what is taken faster than anybody can watch
    network = bool(bundle.limits.network)
    read = [*SYSTEM, *SYSTEM_FILES, *(NETWORK_FILES if network else ()), *paths]
    settings["landlock"] = {
        "read": read,
        "write": [private, *DEVICES, *bundle.write],
        "abi": ABI if uid is not None else ABI_WITH_SIGNALS,
        "network": network,
    }
    # The host's own user owns what the host owns: Landlock would let it change modes.
    settings["seccomp"] = seccomp.program(network, metadata=uid is not None).hex()
    env = launch.env | {"TMPDIR": private, "HOME": private}
    return replace(
        launch, argv=trampoline(settings, without_setpriv(launch.argv)), env=env, uid=uid, private=private, moves=True
    )
