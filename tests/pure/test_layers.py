"""Imports go one way: jobhost -> jobhost_runtimes -> jobhost_sdk -> msgpack; and a child loads little."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobhost_runtimes.process import child_environment

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "jobhost": ROOT / "host" / "jobhost",
    "jobhost_runtimes": ROOT / "runtimes" / "jobhost_runtimes",
    "jobhost_sdk": ROOT / "sdk_python" / "jobhost_sdk",
}
LONG = 400  # lines: a file above it has a second subject more often than not

# What a layer may never import, at any level of a file.
FORBIDDEN = {
    "jobhost_runtimes": {"jobhost", "pydantic", "redis", "psycopg", "structlog", "click"},
    "jobhost_sdk": {"jobhost", "jobhost_runtimes", "anyio", "pydantic", "redis", "structlog", "click", "msgspec"},
}


def modules(layer: str) -> list[Path]:
    return sorted(LAYERS[layer].rglob("*.py"))


def imported(tree: ast.AST, *, whole: bool) -> Iterator[tuple[str, int]]:
    """Top-level package and line of each import; without `whole`, of those that run when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                yield node.module.partition(".")[0], node.lineno
        elif whole or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if not whole and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            yield from imported(node, whole=whole)


def breaches(layer: str, forbidden: set[str], *, whole: bool) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {package}"
        for path in modules(layer)
        for package, line in imported(ast.parse(path.read_text("utf-8")), whole=whole)
        if package in forbidden
    ]


@pytest.mark.parametrize("layer", sorted(FORBIDDEN))
def test_imports_go_one_way(layer: str) -> None:
    assert modules(layer)
    assert breaches(layer, FORBIDDEN[layer], whole=True) == []


def test_the_sdk_loads_no_event_loop() -> None:
    """But for the module that is the loop, which a child imports once it has an async handler."""
    found = breaches("jobhost_sdk", {"asyncio", "anyio", "concurrent"}, whole=False)
    assert [breach for breach in found if "/child/looping.py:" not in breach] == []


def test_the_sdk_needs_msgpack_and_nothing_else() -> None:
    """jsonschema's stand-in and pydantic are looked for only when a handler declares an input."""
    allowed = {*sys.stdlib_module_names, "jobhost_sdk", "msgpack"}
    known = {
        package
        for path in modules("jobhost_sdk")
        for package, _ in imported(ast.parse(path.read_text("utf-8")), whole=False)
    }
    assert known <= allowed


def test_the_walk_sees_what_it_should() -> None:
    source = "import a.b\nfrom c import d\nfrom . import e\nif x:\n    import f\ndef g():\n    import h\n"
    tree = ast.parse(source)
    assert [name for name, _ in imported(tree, whole=False)] == ["a", "c", "f"]
    assert [name for name, _ in imported(tree, whole=True)] == ["a", "c", "f", "h"]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    # With the environment of a child: a coverage run, say, would load its own modules before ours.
    said = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env=child_environment([]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(said.stdout))


def test_a_child_of_sync_handlers_starts_light() -> None:
    loaded = loaded_by("import jobhost_sdk, jobhost_sdk.child.main, jobhost_sdk.child.blocking")
    heavy = {
        "asyncio",
        "anyio",
        "pydantic",
        "structlog",
        "click",
        "msgspec",
        "jobhost",
        "jobhost_runtimes",
        "inspect",
        "ssl",
    }
    assert loaded & heavy == set()


def test_the_runtimes_load_nothing_of_the_host() -> None:
    loaded = loaded_by(
        "import jobhost_runtimes, jobhost_runtimes.child, jobhost_runtimes.pool, jobhost_runtimes.in_process"
    )
    assert loaded & FORBIDDEN["jobhost_runtimes"] == set()


def test_files_stay_small() -> None:
    """A symptom, not a gate: long files are named and nothing fails."""
    for layer in LAYERS:
        for path in modules(layer):
            if (length := len(path.read_text("utf-8").splitlines())) > LONG:
                with warnings.catch_warnings():
                    warnings.simplefilter("default")
                    warnings.warn(f"{path.relative_to(ROOT)} has {length} lines", stacklevel=1)
