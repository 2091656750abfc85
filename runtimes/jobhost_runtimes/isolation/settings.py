"""What every level gives to `confine.py`, and what a child has to be able to read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ..bundle import BundleSpec
from ..languages import Launch

CONFINE = str(Path(__file__).with_name("confine.py"))
NICE = 10
OOM = 500
"""Of 1,000: the kernel ends children before the host when memory is short."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
"""Programs and libraries, which are nobody's secret."""
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/mime.types", "/etc/ssl/openssl.cnf")
NETWORK_FILES = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/ssl",
    "/etc/ca-certificates",
)  # fmt: skip


def base(bundle: BundleSpec) -> dict[str, Any]:
    """What holds for every child."""
    limits: dict[str, int] = {"CORE": 0}
    if bundle.limits.open_files is not None:
        limits["NOFILE"] = bundle.limits.open_files
    if bundle.limits.disk is not None:
        limits["FSIZE"] = bundle.limits.disk
    return {"parent": os.getpid(), "limits": limits, "nice": NICE, "oom": OOM}


def trampoline(settings: dict[str, Any], argv: list[str]) -> list[str]:
    """The command that confines itself and then becomes `argv`. The host's own interpreter does it: a bundle's may be the bundle's."""
    return [sys.executable, "-I", "-S", CONFINE, json.dumps(settings), *argv]


def without_setpriv(argv: list[str]) -> list[str]:
    """A command without the wrapper that ends it with the host: confining does that."""
    return argv[argv.index("--") + 1 :] if os.path.basename(argv[0]) == "setpriv" else argv


def needed(bundle: BundleSpec, launch: Launch) -> list[str]:
    """What a child has to read beside the system's own: bundle, interpreter, SDK; without what others contain.

    Links in the bundle are not followed: whoever wrote it could name any place. `read` grants where they lead.
    """
    root = bundle.root if bundle.root.is_dir() else bundle.root.parent
    paths = [str(root), *launch.reads, *bundle.read, *bundle.write]
    if bundle.language == "node":
        paths += _packages_above(root)
    return _outermost(os.path.abspath(path) for path in paths if os.path.exists(path))


def _packages_above(root: Path) -> list[str]:
    """Where Node looks for packages, and for the kind of a module."""
    found = [folder / name for folder in root.parents for name in ("node_modules", "package.json")]
    return [str(path) for path in found if path.exists()]


def _outermost(paths: Any) -> list[str]:
    kept: list[str] = []
    for path in sorted({*paths}, key=len):
        if not any(path == one or path.startswith(one.rstrip("/") + "/") for one in (*kept, *SYSTEM)):
            kept.append(path)
    return kept


def reveal(bundle: BundleSpec, paths: list[str]) -> list[tuple[str, bool, bool]]:
    """Paths for `reveal`: the bundle's own files may be copied, an interpreter is too large for that."""
    root = str(bundle.root if bundle.root.is_dir() else bundle.root.parent)
    inside = [path for path in bundle.write if path not in paths and os.path.exists(path)]
    return [(path, path == root, path in bundle.write) for path in (*paths, *inside)]
