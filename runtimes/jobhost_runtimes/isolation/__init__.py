"""Levels of isolation: each is one file that says how a child's command is wrapped, and there is no way around the one asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..bundle import BundleSpec
from ..languages import Launch, launch
from . import process, restricted, sandbox

LEVELS: dict[str, Callable[[BundleSpec, Launch], Launch]] = {
    "process": process.wrap,
    "restricted": restricted.wrap,
    "sandbox": sandbox.wrap,
}
"""`none` is not here: it has no children."""
CONFINED = ("restricted", "sandbox")
"""Levels that promise to hold code that means harm."""


def confined(bundle: BundleSpec) -> Launch:
    """The command of a bundle's child at its level. Raises ChildStartError."""
    return LEVELS[bundle.isolation](bundle, launch(bundle))


def is_root() -> bool:
    return os.geteuid() == 0
