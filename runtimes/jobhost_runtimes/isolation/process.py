"""`process`: against mistakes. A process tree of its own with limits; the file system and the network are the host's."""

from __future__ import annotations

import shutil
from dataclasses import replace

from ..bundle import BundleSpec
from ..languages import Launch
from .settings import NICE, OOM, base, needed, reveal, trampoline, without_setpriv
from .users import users


def wrap(bundle: BundleSpec, launch: Launch) -> Launch:
    """With a user of its own where `uid_range` names some.

    Else what has to be given up from inside is given up by `setpriv`, in a millisecond, where Python's own start would take ten.
    """
    settings = base(bundle)
    argv = without_setpriv(launch.argv)
    setpriv = shutil.which("setpriv")
    if bundle.uid_range is None and setpriv is not None:
        argv = [setpriv, "--no-new-privs", "--pdeathsig", "KILL", "--", *argv]
        return replace(launch, argv=argv, limits=settings["limits"], nice=NICE, oom=OOM)
    uid = None
    if bundle.uid_range is not None:
        uid = settings["uid"] = users.take(bundle.uid_range)
        settings["reveal"] = reveal(bundle, needed(bundle, launch))
        if bundle.limits.processes is not None:
            settings["limits"]["NPROC"] = bundle.limits.processes
    return replace(launch, argv=trampoline(settings, argv), uid=uid, moves=True)
