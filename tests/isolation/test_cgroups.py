"""Control groups: where this process may make some, the kernel holds a child's tree to its memory, and nothing leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from jobhost.queues.memory import MemoryBackend
from jobhost_runtimes.isolation import cgroups
from jobhost_runtimes.process import Process
from jobhost_runtimes.strays import descendants

from tests.contract.functions import Recorder
from tests.contract.hosting import PATIENCE, error_of, hosted, result_of
from tests.contract.test_children import gone, pool_of

from .test_attacks import LEVELS
from .test_levels import bundle

pytestmark = pytest.mark.anyio
FILES = cgroups.found()
NEEDS_GROUPS = pytest.mark.skipif(
    FILES is None, reason="no control groups can be made here: not root, and none delegated"
)
WORK = """
import os, subprocess, sys, time

def handler(job, ctx):
    if job.data == "hog":
        kept = bytearray(300 << 20)
        kept[::4096] = b"x" * len(kept[::4096])
    if job.data == "below":
        code = "kept = bytearray(300 << 20); kept[::4096] = b'x' * len(kept[::4096])"
        subprocess.run([sys.executable, "-c", code])
        time.sleep(20)
    if job.data == "daemon":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        os.wait()
    return "done"
"""


def groups(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{cgroups.PREFIX}{os.getpid()}-*"))


@pytest.fixture
def folders() -> Iterator[tuple[Path, ...]]:
    assert FILES is not None
    until_none_is_left(FILES.folders)
    yield FILES.folders
    until_none_is_left(FILES.folders)


def until_none_is_left(folders: tuple[Path, ...]) -> None:
    """What was killed just now ends in its own time; its group goes with it."""
    deadline = time.monotonic() + PATIENCE
    while any(map(groups, folders)):
        assert time.monotonic() < deadline, [group for folder in folders for group in groups(folder)]
        cgroups.remove_spares()
        time.sleep(0.01)


@NEEDS_GROUPS
@pytest.mark.parametrize("level", ["process", *LEVELS])
async def test_a_childs_whole_tree_is_in_a_group_of_its_own(
    level: str, tmp_path: Path, folders: tuple[Path, ...]
) -> None:
    """G2. Row: memory limit. What grows faster than anybody could look is stopped by the kernel, below the handler too."""
    table = bundle(tmp_path / "b", level, WORK, limits={"memory": "192MiB", "grace": "100ms"})
    async with hosted(MemoryBackend(), table) as host:
        assert result_of(await host.run("work")) == "done"
        [child] = pool_of(host).children
        for folder in folders:
            [group] = groups(folder)
            held = {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
            assert held == {child.pid, *descendants(child.pid)}, "the interpreter, and what stands before it"
        for what in ("hog", "below"):
            error = error_of(await host.run("work", what, attempts=1))
            assert (error["type"], error["origin"]) == ("MemoryLimitError", "host")
            limit = error["data"]["dossier"]["limit"]
            assert (limit["name"], limit["value"]) == ("memory", 192 << 20)
            assert limit["reached"] >= limit["value"]
        assert result_of(await host.run("work")) == "done"


@NEEDS_GROUPS
async def test_what_has_left_the_tree_ends_with_the_child(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    """A daemon has another parent, group and session, and still the group of control."""
    async with hosted(MemoryBackend(), bundle(tmp_path / "b", "process", WORK)) as host:
        assert result_of(await host.run("work", "daemon")) == "done"
        [child] = pool_of(host).children
        [group] = groups(folders[-1])
        [daemon] = {int(pid) for pid in (group / "cgroup.procs").read_text().split()} - {child.pid}
        assert daemon not in descendants(child.pid)
    await gone(daemon)


@NEEDS_GROUPS
async def test_groups_are_used_again_and_what_a_dead_host_left_is_removed(folders: tuple[Path, ...]) -> None:
    made = [cgroups.group_for(1 << 30, 8) for _ in range(3)]
    assert all(made)
    for one in made:
        assert one is not None
        one.give_back()
    again = [cgroups.group_for(1 << 30, 8) for _ in range(3)]
    assert {id(one) for one in again} == {id(one) for one in made}
    assert (groups(folders[-1])[0] / "pids.max").read_text().strip() == str(8 * cgroups.BACKSTOP)
    for one in again:
        assert one is not None
        one.give_back()
    code = (
        "from jobhost_runtimes.isolation import cgroups; import os; cgroups.group_for(1 << 30, 8); print(os.getpid())"
    )
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert list(folders[0].glob(f"{cgroups.PREFIX}{dead}-*"))
    with anyio.fail_after(PATIENCE):
        for folder in folders:
            cgroups._tidy(folder)
            assert not list(folder.glob(f"{cgroups.PREFIX}{dead}-*"))


@NEEDS_GROUPS
async def test_a_group_whose_bell_has_rung_is_not_used_again(folders: tuple[Path, ...]) -> None:
    """The kernel rings before it kills, and the one it kills may have ended otherwise by then."""
    for heard in (True, False):
        group = cgroups.group_for(1 << 30, 8)
        assert group is not None
        if heard:
            group.rung = True
        else:
            assert group.bell is not None
            os.eventfd_write(group.bell, 1)
        group.give_back()
        other = cgroups.group_for(1 << 30, 8)
        assert other is not None
        assert other is not group
        other.give_back()
        assert len(groups(folders[0])) == 1


async def test_a_child_that_is_over_its_memory_before_it_was_asked_anything_is_a_start_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not when its start has taken too long."""

    def over(_process: Process, memory: int, _processes: int, on_memory: Callable[[int, int], None]) -> None:
        monkeypatch.undo()  # the next one is not
        on_memory(memory, memory)

    monkeypatch.setattr(Process, "hold", over)
    log = Recorder()
    table = bundle(tmp_path / "b", "process", WORK, start_timeout="25s")
    with anyio.fail_after(20):
        async with hosted(MemoryBackend(), table, log=log) as host:
            assert result_of(await host.run("work")) == "done"
    assert len(log.of("bundle.start_failed")) == 1


def test_a_delegated_group_of_version_2_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a folder that stands for the kernel's: this process moves into a group of its own, and children get limits."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "cgroup.controllers").write_text("cpu memory pids")
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (own / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroups, "_mounts", lambda _kind: [(tmp_path, [])])
    monkeypatch.setattr(cgroups, "_membership", lambda _controller: "/own")
    assert cgroups._delegated() is None, "one that nobody delegated is left alone"
    assert not list(own.glob(f"{cgroups.PREFIX}*"))
    monkeypatch.setattr(cgroups, "_marks", lambda _folder: ["user.delegate"])
    monkeypatch.setattr(os, "getxattr", lambda _folder, _name: b"1")
    files = cgroups._delegated()
    assert files is not None
    assert (own / f"{cgroups.PREFIX}{os.getpid()}-host" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"
    group = cgroups.Group(files, 5 << 20, 4)
    [made] = [one for one in own.glob(f"{cgroups.PREFIX}{os.getpid()}-*") if not one.name.endswith("-host")]
    assert (made / "memory.max").read_text() == str(5 << 20)
    assert (made / "pids.max").read_text() == str(4 * cgroups.BACKSTOP)
    assert group.bell is None
    (made / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    assert group.exceeded
