"""The host's log."""

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import jobhost
import pytest
from jobhost.logs import EVENTS, printable, set_up


def test_json_lines_with_context_of_child_loggers() -> None:
    """K1: structured logs: JSON elsewhere than on a terminal, with levels and the context of child loggers."""
    stream = io.StringIO()
    log = set_up(None, "info", stream)
    log.bind(queue="images").bind(job_id="7").warning("job.retried", delay_ms=5)
    log.debug("job.completed")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("ts").endswith("Z")
    assert told == {"level": "warning", "event": "job.retried", "queue": "images", "job_id": "7", "delay_ms": 5}


def test_readable_lines_without_control_characters() -> None:
    """K1, O1: text on request; what a child wrote can't repaint the terminal."""
    stream = io.StringIO()
    set_up("console", "debug", stream).info("child.output", text="a\x1b[2Jb\nc", names=["x", "y"], nothing=None)
    assert stream.getvalue().split(" ", 1)[1] == "info     child.output  text=ab\n    c names=x,y\n"


def test_an_exception_brings_its_traceback() -> None:
    """K1: in both forms."""
    for format in ("console", "json"):
        stream = io.StringIO()
        try:
            raise ValueError("no\udc00")
        except ValueError as error:
            set_up(format, "info", stream).critical("host.defect", exc_info=error)
        assert "ValueError: no" in stream.getvalue()
        assert "Traceback" in stream.getvalue()


def test_a_log_that_cannot_be_written_harms_nobody() -> None:
    """K1: a closed stderr is no reason to fail."""
    stream = io.StringIO()
    log = set_up("json", "info", stream)
    stream.close()
    log.info("host.ready")


@pytest.mark.parametrize(
    ("text", "left"),
    [("a\tb\nc", "a\tb\nc"), ("\x1b[31mred\x1b[0m", "red"), ("\x9b1;1H\u202ex\r", "1;1Hx"), ("ä€😀", "ä€😀")],
)
def test_printable(text: str, left: str) -> None:
    """O1: control characters go, everything readable stays."""
    assert printable(text) == left


def test_every_event_is_a_fixed_word() -> None:
    """K1: fixed messages: what the host logs is in the list, and nothing is in the list that it doesn't log."""
    used = set()
    for path in Path(jobhost.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if _is_log_call(node):
                assert isinstance(node, ast.Call)
                first = node.args[0]
                assert isinstance(first, ast.Constant), f"{path}:{node.lineno}: an event must be a literal"
                used.add(first.value)
    assert used == set(EVENTS)


def _is_log_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    on = node.func.value
    name = on.attr if isinstance(on, ast.Attribute) else on.id if isinstance(on, ast.Name) else ""
    return name == "log" and node.func.attr in ("debug", "info", "warning", "error", "critical", "exception")


def test_rich_is_not_dragged_in(tmp_path: Path) -> None:
    """K1: structlog imports rich where it is installed; the host's start does without."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise SystemExit('rich was imported')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from jobhost.logs import set_up; set_up(); assert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
