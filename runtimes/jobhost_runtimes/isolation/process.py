"""`process`: against mistakes. A process tree of its own with limits; the file system and the network are the host's."""

from __future__ import annotations

from dataclasses import replace

from ..bundle import BundleSpec
from ..languages import Launch
from .settings import base, needed, reveal, trampoline, without_setpriv
from .users import users


def wrap(bundle: BundleSpec, launch: Launch) -> Launch:
    """With a user of its own where `uid_range` names some."""
    settings = base(bundle)
    uid = None
    if bundle.uid_range is not None:
        uid = settings["uid"] = users.take(bundle.uid_range)
        settings["reveal"] = reveal(bundle, needed(bundle, launch))
        if bundle.limits.processes is not None:
            settings["limits"]["NPROC"] = bundle.limits.processes
    return replace(launch, argv=trampoline(settings, without_setpriv(launch.argv)), uid=uid, moves=True)
