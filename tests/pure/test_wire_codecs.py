"""The same promises under every interpreter and every msgpack a child may meet; see tests/wire/abuse.py."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import msgpack
import pytest

from tests.wire.driver import SDK, VERSIONS, interpreter

ABUSE = pathlib.Path(__file__).parent.parent / "wire" / "abuse.py"
OURS = str(pathlib.Path(msgpack.__file__).parent.parent)
MOST_MIB = 64
"""Growth allowed while a 1 MiB bomb is refused; the one that findings.md measured took 6 GiB."""


def abused(python: str, packages: str, pure: bool = False) -> dict[str, Any]:
    """What abuse.py counted."""
    env = {"PATH": os.environ["PATH"], **({"MSGPACK_PUREPYTHON": "1"} if pure else {})}
    command = [python, "-s", "-S", str(ABUSE), str(SDK), packages]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


def check(counted: dict[str, Any]) -> None:
    assert counted["valid"] > 90
    assert counted["invalid"] > 70
    assert counted["refused"] > 1000
    assert counted["bomb_mib"] <= MOST_MIB


@pytest.mark.parametrize("pure", [False, True], ids=["C", "pure"])
def test_this_msgpack(pure: bool) -> None:
    counted = abused(sys.executable, OURS, pure)
    assert counted["pure"] is pure
    check(counted)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_interpreter_with_the_lent_msgpack(version: str) -> None:
    """An interpreter that cannot load the host's C extension falls back to pure Python."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"NO PYTHON {version} ON THIS MACHINE: the SDK is not tested on it")
    check(abused(python, OURS))


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The oldest msgpack that is allowed, which lacks later releases' own defences."""
    folder = str(tmp_path_factory.mktemp("msgpack"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, "msgpack==1.2.3"]
    made = subprocess.run(install, capture_output=True, text=True, timeout=100, check=False)
    assert made.returncode == 0, f"msgpack 1.2.3 could not be installed, so nothing is known of it: {made.stderr}"
    return folder


@pytest.mark.parametrize("pure", [False, True], ids=["C", "pure"])
def test_the_oldest_msgpack(oldest: str, pure: bool) -> None:
    counted = abused(sys.executable, oldest, pure)
    assert counted["msgpack"] == "1.2.3"
    check(counted)
