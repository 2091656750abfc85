"""`jobhost doctor`."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from .lazy import examples
from .output import print_json
from .session import json_option

if TYPE_CHECKING:
    from jobhost_runtimes.isolation.examine import Finding


@click.command("doctor", epilog=examples("jobhost doctor", "jobhost doctor --json"))
@json_option
def command(as_json: bool) -> None:
    """Run each level of isolation once with a probe, and print what it keeps here, what it does not, why, and how to get it.

    Exit code 1 if a level can't be used on this machine.
    """
    found, machine = _examined(), _machine()
    if as_json:
        print_json({"machine": machine, "levels": [_listing(finding) for finding in found]})
    else:
        _show(found, machine)
    if not all(finding.holds for finding in found):
        raise click.exceptions.Exit(1)


def _examined() -> list[Finding]:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from jobhost_runtimes.bundle import BundleSpec, LimitSpec

    from jobhost.bundles import DISK, OPEN_FILES, PROCESSES
    from jobhost.levels import findings

    limits = LimitSpec(processes=PROCESSES, open_files=OPEN_FILES, disk=DISK)
    with TemporaryDirectory(prefix="jobhost-doctor-") as folder:
        return asyncio.run(findings(BundleSpec("doctor", Path(folder), "python", limits=limits)))


def _machine() -> dict[str, Any]:
    from jobhost_runtimes.isolation import cgroups
    from jobhost_runtimes.isolation.confine import landlock_version

    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "user": "root" if os.geteuid() == 0 else f"user {os.geteuid()}",
        "landlock": landlock_version(),
        "bubblewrap": shutil.which("bwrap"),
        "python": sys.executable,
        "control_groups": cgroups.available(),
    }


def _listing(finding: Finding) -> dict[str, Any]:
    from jobhost_runtimes.isolation.examine import PROMISES

    return {
        "level": finding.level,
        "holds": finding.holds,
        "promised": list(PROMISES[finding.level]),
        "kept": finding.kept,
        "missing": finding.missing,
        "reason": None if finding.holds else finding.reason,
    }


def _show(found: list[Finding], machine: dict[str, Any]) -> None:
    from jobhost_runtimes.isolation.examine import PROMISES, WORDS

    from jobhost.logs import printable

    landlock = machine["landlock"] or "not there"
    bubblewrap = machine["bubblewrap"] or "not installed"
    click.echo(f"{machine['system']}, as {machine['user']}; Landlock {landlock}, bubblewrap {bubblewrap}")
    click.echo("\nnone        in the host itself: keeps nothing, stops nothing; for your own code only")
    for finding in found:
        verdict = "holds" if finding.holds else "CAN'T BE USED HERE"
        click.echo(f"\n{finding.level:<11} {verdict}")
        if finding.kept is None:
            click.echo(printable(f"  {finding.reason}"))
            continue
        click.echo("  a child …")
        for name, words in WORDS.items():
            promised = name in PROMISES[finding.level]
            kept = finding.kept[name]
            if promised or kept:
                mark = "yes" if kept else "NO "
                click.echo(f"  {mark}  {words}{'' if promised else ' (not promised)'}")
    if machine["control_groups"] is None:
        click.echo(
            "\nMemory of a child's tree is looked at five times a second. The kernel would hold it at each moment in a control group: "
            "start the host as root, or as a systemd service with Delegate=yes."
        )
    else:
        click.echo(
            f"\nMemory of a child's tree is held by the kernel (control groups, version {machine['control_groups']})."
        )
    if machine["user"] == "root":
        click.echo("\nThe host is root: children at `restricted` and `sandbox` get users of their own (uid_range).")
