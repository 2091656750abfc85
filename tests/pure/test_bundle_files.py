"""Which files of a folder are handler files."""

from __future__ import annotations

from pathlib import Path

from jobhost_runtimes.bundle import bundle_files


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_files_are_found_below_any_folder_and_told_apart_by_language(tmp_path: Path) -> None:
    """A2: one file per job type, in folders of any depth."""
    touch(tmp_path, "b.py", "a.py", "core/c.py", "core/deep/d.js", "e.mjs", "f.cjs", "g.ts", "readme.md", "types.d.ts")
    assert bundle_files(tmp_path) == {
        "python": ["a.py", "b.py", "core/c.py"],
        "node": ["core/deep/d.js", "e.mjs", "f.cjs", "g.ts"],
    }


def test_private_files_environments_and_tests_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "_shared.py", ".hidden.py", "test_a.py", "a.test.js", "node_modules/x/i.js", "__pycache__/a.py")
    touch(tmp_path, "my-env/pyvenv.cfg", "my-env/lib/x.py", "venv/x.py", ".git/hook.py", "ok.py")
    assert bundle_files(tmp_path) == {"python": ["ok.py"]}


def test_a_cycle_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.py")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert bundle_files(tmp_path) == {"python": ["a/x.py"]}


def test_one_file_is_a_bundle_too(tmp_path: Path) -> None:
    touch(tmp_path, "only.py", "other.py")
    assert bundle_files(tmp_path / "only.py") == {"python": ["only.py"]}
    touch(tmp_path, "nothing.txt")
    assert bundle_files(tmp_path / "nothing.txt") == {}
