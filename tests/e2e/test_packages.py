"""What pip makes of this tree: the packages are whole, and each can be installed alone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIME = 300
PROBE = """
import sys
from jobhost_sdk import Context, Handler, handler
from jobhost_sdk.discovery import load_function

@handler("image.resize", timeout="30s")
async def resize(job, ctx): ...

loaded = load_function(resize, {})
print(loaded.name, loaded.kind, loaded.settings["timeout"], [name for name in ("jobhost", "jobhost_runtimes") if name in sys.modules])
"""


def pip(python: str | Path, *arguments: str | Path) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME, check=False)
    assert done.returncode == 0, done.stderr


def wheel(source: Path, folder: Path) -> set[str]:
    pip(sys.executable, "wheel", "--no-deps", "-w", folder, source)
    [made] = folder.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_the_node_sdk_and_its_types(tmp_path: Path) -> None:
    """P4, E3: `pip install .` gives the host, both SDKs, the protocol's reference, and what type checkers look for."""
    names = wheel(ROOT, tmp_path)
    for name in (
        "jobhost/cli/main.py",
        "jobhost/py.typed",
        "jobhost/queues/redis/lua/retake.lua",
        "jobhost_runtimes/py.typed",
        "jobhost_runtimes/PROTOCOL.md",
        "jobhost_runtimes/sdk_node/child/main.js",
        "jobhost_runtimes/sdk_node/index.d.ts",
        "jobhost_runtimes/sdk_node/package.json",
        "jobhost_sdk/child/boot.py",
        "jobhost_sdk/py.typed",
    ):
        assert name in names
    on_disk = {
        path.relative_to(ROOT / "sdk_node").as_posix() for path in (ROOT / "sdk_node").rglob("*") if path.is_file()
    }
    carried = {name.removeprefix("jobhost_runtimes/sdk_node/") for name in names if "/sdk_node/" in name}
    assert carried == on_disk
    assert not any("tests" in name.split("/") for name in names)


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.9", "3.13", "this"])
def test_the_python_sdk_is_installed_alone(version: str, tmp_path: Path) -> None:
    """P4: `pip install ./sdk_python` needs nothing of the host, on the oldest interpreter that a bundle may bring too."""
    from tests.wire.driver import interpreter

    base = sys.executable if version == "this" else interpreter(version)
    if base is None:
        pytest.skip(f"NO PYTHON {version} ON THIS MACHINE: the stand-alone SDK is not tested on it")
    subprocess.run([base, "-m", "venv", tmp_path / "venv"], check=True, timeout=TIME)
    python = tmp_path / "venv" / "bin" / "python"
    pip(python, "install", ROOT / "sdk_python")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(
        [python, "-c", PROBE], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60, check=False
    )
    assert (said.stdout, said.returncode) == ("image.resize async 30s []\n", 0), said.stderr


def test_one_version_for_all() -> None:
    """The host, both SDKs and the packages say the same version."""
    import json

    import jobhost
    import jobhost_sdk

    node = json.loads((ROOT / "sdk_node" / "package.json").read_text())["version"]
    assert jobhost.__version__ == jobhost_sdk.__version__ == node
    assert f'version = "{node}"' in (ROOT / "pyproject.toml").read_text()
