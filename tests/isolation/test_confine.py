"""The program that confines a child, step by step, in this process: what would change it for good is noted instead of done.

That the kernel does what it is asked is for the attacks to show.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from jobhost_runtimes.errors import ChildStartError
from jobhost_runtimes.isolation import confine, probe
from jobhost_runtimes.isolation.users import Users


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Functions of the C library that were asked for."""
    asked: list[tuple[Any, ...]] = []

    def call(name: str, *args: Any) -> int:
        asked.append((name, *args))
        return 0

    monkeypatch.setattr(confine, "call", call)
    return asked


def folder(path: Path, mode: int = 0o755) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that everybody can reach, as far as it is ours to say."""
    for one in (tmp_path, *tmp_path.parents):
        if not one.stat().st_mode & 1:
            one.chmod(one.stat().st_mode | 0o055)
    return tmp_path


def test_the_door_that_keeps_others_out_is_found(place: Path) -> None:
    inner = folder(folder(folder(place / "open") / "closed", 0o700) / "inner")
    assert confine.reachable(str(place / "open")) is None
    assert confine.reachable(str(inner)) == str(place / "open" / "closed")


@pytest.mark.parametrize("spoil", ["folder", "file", "inner folder", "nothing"])
def test_what_others_can_read_whole(spoil: str, place: Path) -> None:
    root = folder(place / "b")
    inner = folder(root / "inner")
    (inner / "a.py").write_text("1")
    (inner / "gone").symlink_to("nowhere")
    {"folder": root, "inner folder": inner}.get(spoil, place).chmod(0o700 if "folder" in spoil else 0o755)
    (inner / "a.py").chmod(0o600 if spoil == "file" else 0o644)
    assert confine.readable(str(root)) == (spoil == "nothing")
    assert confine.readable(str(inner / "a.py")) == (spoil != "file")


def test_a_tree_is_copied_with_its_links(place: Path) -> None:
    root = folder(place / "b")
    folder(root / "sub")
    (root / "sub" / "a.py").write_text("1")
    (root / "run.sh").write_text("2")
    (root / "link").symlink_to("sub/a.py")
    (root / "modules").symlink_to("sub")
    copy = place / "copy"
    confine.write_tree(str(copy), confine.read_tree(str(root)))
    assert (copy / "sub" / "a.py").read_text() == "1"
    assert (os.readlink(copy / "link"), os.readlink(copy / "modules")) == ("sub/a.py", "sub")
    assert [(copy / name).stat().st_mode & 0o777 for name in ("run.sh", "sub/a.py")] == [0o755, 0o644]
    confine.write_tree(str(place / "one.py"), confine.read_tree(str(root / "run.sh")))
    assert (place / "one.py").read_text() == "2"
    confine.write_tree(str(place / "empty"), {})
    assert (place / "empty").is_dir()


def test_a_bundle_that_is_too_large_to_copy_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "MOST_COPIED", 10)
    (folder(place / "b") / "a.py").write_text("x" * 11)
    with pytest.raises(confine.Failed, match="too large to be copied for a child: make it readable for others"):
        confine.read_tree(str(place / "b"))


def test_nothing_is_mounted_where_nothing_is_barred(place: Path, calls: list[tuple[Any, ...]]) -> None:
    confine.reveal([(str(folder(place / "b")), True, False)])
    assert calls == []


def test_what_is_barred_is_shown_to_the_child_alone(place: Path, calls: list[tuple[Any, ...]]) -> None:
    """The door is covered; behind it lie what was asked for, read-only unless it may be written, and copies of what is unreadable."""
    home = folder(place / "home", 0o700)
    interpreter, written, bundle = (folder(home / name) for name in ("python", "written", "bundle"))
    (bundle / "a.py").write_text("1")
    (bundle / "a.py").chmod(0o600)
    one = home / "one.json"
    one.write_text("2")
    confine.reveal(
        [
            (str(interpreter), False, False),
            (str(written), False, True),
            (str(bundle), True, False),
            (str(one), False, False),
        ]
    )
    asked = [(name, *(os.fsdecode(arg) for arg in args if isinstance(arg, bytes))) for name, *args in calls]
    assert asked[0] == ("unshare",)
    assert asked[2] == ("mount", "tmpfs", str(home), "tmpfs", "mode=0755,size=256m")
    shown = [call[-1] for call in asked[3:] if len(call) == 3]
    kept = [call[-1] for call in asked[3:] if len(call) == 2]
    assert sorted(shown) == [str(one), str(interpreter), str(written)]
    assert sorted(kept) == [str(one), str(interpreter)]
    assert (bundle / "a.py").stat().st_mode & 0o777 == 0o644, "copied"


def test_without_the_right_to_mount_it_is_said_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "call", lambda *args: -1)
    inner = folder(folder(place / "home", 0o700) / "inner")
    with pytest.raises(confine.Failed, match=r"home can be read by root alone.*CAP_SYS_ADMIN.*chmod o\+rx.*uid_range"):
        confine.reveal([(str(inner), False, False)])


def test_the_order_of_the_steps(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits while they can be set, the view of files while one may mount, then the user, and the filter last."""
    done: list[Any] = []
    for name in ("setgroups", "setresgid", "setresuid", "nice"):
        monkeypatch.setattr(os, name, lambda *args, name=name: done.append((name, *args)))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: done.append(("limit", kind, pair)))
    monkeypatch.setattr(confine, "reveal", lambda wanted: done.append(("reveal", wanted)))
    monkeypatch.setattr(confine, "restrict_files", lambda **settings: done.append(("files", settings)))
    monkeypatch.setattr(confine, "filter_calls", lambda program: done.append(("calls", program)))
    monkeypatch.setattr(confine, "call", lambda name, *args: len(done.append((name, args[0])) or ""))  # type: ignore[func-returns-value]
    confine.confine(
        {
            "limits": {"CORE": 0, "NOFILE": 64},
            "nice": 5,
            "uid": 61_000,
            "reveal": ["paths"],
            "parent": os.getppid(),
            "landlock": {"read": [], "write": [], "abi": 1, "network": False},
            "seccomp": "0102",
        }
    )
    assert done == [
        ("limit", resource.RLIMIT_CORE, (0, 0)),
        ("limit", resource.RLIMIT_NOFILE, (64, 64)),
        ("nice", 5),
        ("reveal", ["paths"]),
        ("setgroups", []),
        ("setresgid", 61_000, 61_000, 61_000),
        ("setresuid", 61_000, 61_000, 61_000),
        ("prctl", confine.PR_SET_NO_NEW_PRIVS),
        ("prctl", confine.PR_SET_PDEATHSIG),
        ("files", {"read": [], "write": [], "abi": 1, "network": False}),
        ("calls", b"\x01\x02"),
    ]


def test_an_orphan_does_not_start(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that died before its child was told to follow it: the child ends."""
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    with pytest.raises(SystemExit) as caught:
        confine.confine({"parent": 1 if os.getppid() != 1 else 2})
    assert caught.value.code == confine.FAILED


def test_a_step_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """On stderr, and where the host asked for it; no handler's interpreter is started."""
    read, write = os.pipe()
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    monkeypatch.setattr(confine, "call", lambda *args: -1)
    monkeypatch.setattr(sys, "argv", ["confine.py", json.dumps({"tell": write}), "/bin/true"])
    with pytest.raises(SystemExit) as caught:
        confine.main()
    said = "jobhost could not confine this child: no new privileges: refused by the kernel"
    assert caught.value.code == 78
    assert os.read(read, 1000).decode() == said
    assert said in capfd.readouterr().err
    os.close(read)
    os.close(write)


def test_a_command_that_is_not_there(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    monkeypatch.setattr(sys, "argv", ["confine.py", "{}", "/no/such/program"])
    with pytest.raises(SystemExit):
        confine.main()
    assert "No such file or directory" in capfd.readouterr().err


def test_descriptors_are_moved_in_their_order() -> None:
    pairs = [os.pipe(), os.pipe()]
    numbers = [os.dup(pairs[0][0]), os.dup(pairs[1][1])]
    confine.move_descriptors(",".join(map(str, numbers)), first=200)
    os.write(pairs[0][1], b"to 200")
    os.write(201, b"from 201")
    assert (os.read(200, 100), os.read(pairs[1][0], 100)) == (b"to 200", b"from 201")
    assert os.get_inheritable(200)
    for number in numbers:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    for descriptor in (200, 201, *pairs[0], *pairs[1]):
        os.close(descriptor)


def test_a_kernel_that_is_too_old_is_said() -> None:
    with pytest.raises(confine.Failed, match=r"the kernel's Landlock has version \d+; 99 is needed"):
        confine.restrict_files([], [], 99, False)


def test_users_are_given_once() -> None:
    users = Users()
    taken = [users.take((100, 102)) for _ in range(3)]
    assert sorted(taken) == [100, 101, 102]
    with pytest.raises(ChildStartError, match="all 3 users of uid_range are in use: widen it"):
        users.take((100, 102))
    users.release(101)
    assert users.take((100, 102)) == 101


def test_a_user_that_others_have_in_use_is_passed_over() -> None:
    """Two hosts that are root on one machine: neither ends the other's children with its own."""
    mine = os.geteuid()
    assert Users().take((mine, mine + 1)) == mine + 1
    with pytest.raises(ChildStartError, match="all 1 users"):
        Users().take((mine, mine))


def test_the_probe_of_a_process_that_nothing_was_taken_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It tells what it could do: here nearly everything."""
    monkeypatch.setenv("GIVEN", "1")
    (tmp_path / "secret").write_text("x")
    settings = {"pid": os.getpid(), "variable": "GIVEN", "secret": str(tmp_path / "secret"), "file": str(tmp_path / "secret"), "port": 1,
                "folder": str(tmp_path), "socket": str(tmp_path / "none"), "open_files": 1 << 30, "processes": 1}  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["probe.py", json.dumps(settings)])
    monkeypatch.setattr(sys, "stdin", io.StringIO("go\n"))
    probe.main()
    found = json.loads(capsys.readouterr().out)
    could = {
        "environment",
        "secrets",
        "files",
        "permissions",
        "writing",
        "signals",
        "processes_of_others",
        "system_calls",
        "number_of_processes",
    }
    assert not any(found[name] for name in could), found
    assert found["not_root"] == (os.getuid() != 0)
    assert found["network"], "nobody listens there"
