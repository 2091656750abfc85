"""Whether this machine keeps what the levels of isolation promise: asked before anything runs at them, and by `jobhost doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from jobhost_runtimes.bundle import BundleSpec
from jobhost_runtimes.isolation import CONFINED, LEVELS
from jobhost_runtimes.isolation.examine import Finding, examine

from .errors import ConfigurationError


def _alike(specs: Sequence[BundleSpec]) -> list[BundleSpec]:
    """One of each kind that a probe would find the same of."""
    kinds = {(spec.isolation, spec.limits, spec.read, spec.write, spec.root): spec for spec in specs}
    return [spec for spec in kinds.values() if spec.isolation in LEVELS]


async def hold(specs: Sequence[BundleSpec], confined: bool) -> None:
    """Run each level once with a probe, those that hold code which means harm or the others.

    Raises ConfigurationError if a level keeps less than it promises: nothing is run with less than was asked for.
    """
    if not specs:
        return
    asked = [spec for spec in _alike(specs) if (spec.isolation in CONFINED) is confined]
    found = await asyncio.gather(*(asyncio.to_thread(examine, spec) for spec in asked))
    broken = [(spec, finding) for spec, finding in zip(asked, found, strict=True) if not finding.holds]
    if broken:
        lines = [
            f'bundle {spec.name}: isolation = "{spec.isolation}" can\'t be kept on this machine: {finding.reason}'
            for spec, finding in broken
        ]
        raise ConfigurationError("\n".join([*lines, "`jobhost doctor` says what each level keeps here"]))


async def findings(spec: BundleSpec) -> list[Finding]:
    """Every level that has children, tried with the limits of a bundle."""
    return await asyncio.gather(*(asyncio.to_thread(examine, replace(spec, isolation=level)) for level in LEVELS))
