"""The script a child starts with: `python -I -S …/jobhost_sdk/child/boot.py '{"lend": {"msgpack": "…", …}}'`.

With a member `template` it is none itself, but makes them: see `template.py`.

In this order, since each step protects what follows: move the wire away from fd 0 and 1; make `jobhost_sdk` and the lent
packages importable from exactly their own folders, so that nothing else of the host's environment is; only then read a
frame. `-I -S` keep the environment, the working directory and site-packages out until the wire is safe.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

WIRE_VARIABLE = "JOBHOST_RPC_FD"
LOWEST = 10
"""Wire descriptors are moved to this number or above: small ones are guessed by scripts (`exec 3>…`)."""


def move_wire() -> tuple[int, int]:
    """Take the wire from where the launcher put it and give its descriptors, to read and to write.

    Afterwards fd 0 is /dev/null and fd 1 a copy of fd 2: no print, C library or grandchild can touch the wire.
    """
    import fcntl

    said = os.environ.pop(WIRE_VARIABLE, "0,1")
    sources = [int(part) for part in said.split(",")]
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST) for fd in sources]
    for fd in sources:
        if fd > 2:
            os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return moved[0], moved[-1]


class Lender:
    """Finds the packages the host lends, each in its own folder and nothing beside it.

    `msgpack`: what the wire loaded is kept out of the bundle's sight; its own `msgpack`, if it has one, is what
    `import msgpack` gives, else the lent one. Other packages are lent where the environment has none.
    """

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = folders
        self._kept: dict[str, ModuleType] = {}

    def keep(self, name: str) -> None:
        """Hide a lent package that is loaded already, until someone imports it."""
        for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            self._kept[module] = sys.modules.pop(module)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name not in self._folders or path is not None:
            return None
        folder = self._folders[name]
        own = self._own_spec(name)
        if own is not None and own.origin != os.path.join(folder, "__init__.py"):
            return own
        if name in self._kept:
            loader: Any = self
            return ModuleSpec(name, loader, origin=folder)
        # By its file: a confined child may not list the folder that the package lies in.
        first = os.path.join(folder, "__init__.py")
        return spec_from_file_location(name, first, submodule_search_locations=[folder])

    def _own_spec(self, name: str) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, None) if find and finder is not self else None
            if spec is not None and spec.loader is not None:
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._kept[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It ran long ago: an extension module cannot be run twice. Give back its submodules with it."""
        for name, kept in self._kept.items():
            sys.modules[name] = kept


def lend(folders: dict[str, str]) -> Lender:
    """Make `jobhost_sdk` and the packages of `folders` importable."""
    sdk = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    lender = Lender({**folders, "jobhost_sdk": sdk})
    sys.meta_path.insert(0, lender)
    return lender


def told(argument: str) -> dict[str, Any]:
    """Read the argument: `{"lend": {name: folder}}`, and perhaps `"template"`."""
    try:
        from _json import make_scanner  # without `json`, which costs 10 ms
    except ImportError:
        import json

        value = json.loads(argument)
    else:

        class Settings:
            strict = True
            object_hook = object_pairs_hook = None
            parse_float, parse_int, parse_constant = float, int, None

        settings: Any = Settings
        value, _ = make_scanner(settings)(argument.strip(), 0)
    return dict(value)


if __name__ == "__main__":
    wire = move_wire()
    settings = told(sys.argv[1] if len(sys.argv) > 1 else "{}")
    lender = lend(dict(settings.get("lend") or {}))
    del sys.argv[1:]

    from jobhost_sdk.child import main

    if "template" in settings:
        main.forked(wire[0], lender.keep, **settings["template"])
    else:
        main.main(*wire, lender.keep)
