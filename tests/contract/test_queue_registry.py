"""From a queue URL to its backend."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jobhost.errors import ConfigurationError
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.registry import open_backend
from jobhost.queues.sqlite import SqliteBackend

from .backends import add, opened

pytestmark = pytest.mark.anyio


async def test_each_scheme_gives_its_backend(tmp_path: Path) -> None:
    """C3: several backends behind one interface."""
    assert isinstance(open_backend("memory://", tmp_path), MemoryBackend)
    assert isinstance(open_backend("sqlite:///jobs.db", tmp_path), SqliteBackend)
    assert isinstance(open_backend("postgresql://user@host/jobs?schema=mine", tmp_path), PostgresBackend)


async def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path) -> None:
    for url, file in (
        ("sqlite:///.jobhost/jobs.db", tmp_path / "base" / ".jobhost" / "jobs.db"),
        (f"sqlite:///{tmp_path}/there.db", tmp_path / "there.db"),
    ):
        async with opened(open_backend(url, tmp_path / "base")) as backend:
            await add(backend, "a")
        assert file.exists()


@pytest.mark.parametrize("url", ["", "jobs.db", "mysql://x", "memory", "sqlite", "SQLITE:///x"])
async def test_an_unknown_scheme_names_the_known(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="use memory://, sqlite:///FILE, redis://HOST"):
        open_backend(url, tmp_path)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://jobs.db", "sqlite:///jobs.db?mode=ro"])
async def test_a_file_that_is_not_named_rightly(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///jobs.db for a file beside the configuration"):
        open_backend(url, tmp_path)


async def test_sqlite_in_memory_is_memory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        open_backend("sqlite:///:memory:", tmp_path)
    with pytest.raises(ConfigurationError, match="takes nothing more"):
        open_backend("memory://jobs", tmp_path)


def test_a_store_whose_client_is_missing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("jobhost.queues.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"needs psycopg: pip install 'jobhost\[postgres\]'"):
        open_backend("postgresql://localhost/jobs", tmp_path)
