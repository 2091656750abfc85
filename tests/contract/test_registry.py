"""`Registry`: handlers of folders and of code, looked at without a host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from jobhost import ConfigurationError, Registry, UnknownJobTypeError

pytestmark = pytest.mark.anyio


def write(folder: Path, name: str, text: str = "def handler(job, ctx):\n    return 1\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def resize(job: Any, ctx: Any) -> None:
    """Registered below."""


async def test_folders_are_discovered_in_every_language(tmp_path: Path) -> None:
    """A2, A4, A8: add folders, discover, get, has, names; nothing of them is imported here."""
    write(
        tmp_path / "core",
        "mail.py",
        'config = {"queue": "mail", "version": "2.0.0"}\ndef handler(job, ctx): return 1\n',
    )
    write(tmp_path / "core" / "deep", "clean.py")
    write(tmp_path / "custom", "thumb.js", "module.exports = async () => 1;\n")
    registry = Registry()
    registry.add_folder(tmp_path / "core")
    registry.add_folder(tmp_path / "custom")
    assert registry.names() == []
    assert await registry.discover() == []
    assert registry.names() == ["clean", "mail", "thumb"]
    mail = registry.get("mail")
    assert (mail.queue, mail.version, mail.author, mail.language) == ("mail", "2.0.0", "Unknown", "python")
    assert registry.get("thumb").language == "node"
    assert "mail" in registry
    assert registry.has("thumb")
    assert not registry.has("nobody")
    with pytest.raises(UnknownJobTypeError, match="clean, mail, thumb"):
        registry.get("nobody")
    assert not any(str(tmp_path) in str(getattr(module, "__file__", "")) for module in list(sys.modules.values()))


async def test_what_is_wrong_is_told_and_the_rest_is_there(tmp_path: Path) -> None:
    """A4, A5: a broken file, and a name that two bundles have, with both files."""
    write(tmp_path / "a", "mail.py")
    write(tmp_path / "a", "broken.py", "def handler(:\n")
    write(tmp_path / "b", "mail.py")
    write(tmp_path / "b", "other.py")
    registry = Registry()
    registry.add_folder(tmp_path / "a")
    registry.add_folder(tmp_path / "b")
    problems = [str(problem) for problem in await registry.discover()]
    assert len(problems) == 2
    [broken] = [text for text in problems if "broken.py:1" in text]
    [twice] = [text for text in problems if "two handlers are named 'mail'" in text]
    assert "SyntaxError" in broken
    assert str(tmp_path / "a" / "mail.py") in twice
    assert str(tmp_path / "b" / "mail.py") in twice
    assert "other" in registry
    write(tmp_path / "a", "broken.py")
    (tmp_path / "b" / "mail.py").unlink()
    assert await registry.discover() == []
    assert registry.names() == ["broken", "mail", "other"]


async def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A4."""
    registry = Registry()
    registry.add_folder(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="nowhere"):
        await registry.discover()


async def test_handlers_from_code(tmp_path: Path) -> None:
    """A4, A7: register, get, validate; a name is taken once; code stays where a folder has the name too, and it is said."""
    registry = Registry()
    entry = registry.register(resize, queue="images", timeout="30s")
    assert registry.get("resize") is entry
    assert (entry.queue, entry.settings.timeout, entry.isolation, entry.file) == ("images", 30_000, "none", __file__)
    with pytest.raises(ConfigurationError, match="there is a handler named 'resize' already"):
        registry.register(resize)
    with pytest.raises(ConfigurationError, match="unit"):
        registry.register(resize, "other", timeout=30)
    with pytest.raises(ConfigurationError, match="did you mean 'timeout'"):
        registry.register(resize, "other", timeuot="30s")
    assert registry.names() == ["resize"]
    assert registry.validate({"timeout": "1m"}) == []
    assert len(registry.validate({"timeout": 5, "attempts": "many"})) == 2
    write(tmp_path / "a", "resize.py")
    registry.add_folder(tmp_path / "a")
    [problem] = await registry.discover()
    assert str(tmp_path / "a" / "resize.py") in str(problem)
    assert __file__ in str(problem)
    assert registry.get("resize") is entry


async def test_removing_goes_by_the_handlers_name(tmp_path: Path) -> None:
    """A4. Trap: removed by file name what was registered by handler name. The file is called otherwise and stays."""
    write(tmp_path / "a", "file_name.py", 'config = {"name": "job.name"}\ndef handler(job, ctx): return 1\n')
    write(tmp_path / "a", "other.py", 'config = {"name": "file_name"}\ndef handler(job, ctx): return 1\n')
    registry = Registry()
    registry.add_folder(tmp_path / "a")
    await registry.discover()
    assert registry.names() == ["file_name", "job.name"]
    assert registry.remove("job.name")
    assert not registry.remove("job.name")
    assert registry.names() == ["file_name"]
    assert registry.get("file_name").file.endswith("other.py")
    assert (tmp_path / "a" / "file_name.py").exists()
    await registry.discover()
    assert registry.names() == ["file_name"], "what was left out stays so"
    registry.register(resize, "job.name")
    assert registry.get("job.name").file == __file__
