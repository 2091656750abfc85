"""`requires`: which handlers can be served, given the names that are there. Handlers that require each other are served together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from .catalogue import Entry, Problem

NOWHERE = "no bundle here has and no host has published"


def split(entries: Iterable[Entry], known: Collection[str]) -> tuple[list[Entry], list[Entry]]:
    """Those whose required names are known or among themselves, and the others."""
    met: list[Entry] = list(entries)
    unmet: list[Entry] = []
    while True:
        names = {entry.name for entry in met}.union(known)
        lacking = [entry for entry in met if not names.issuperset(entry.settings.requires or ())]
        if not lacking:
            return met, unmet
        unmet += lacking
        met = [entry for entry in met if entry not in lacking]


def problems_of(unmet: Sequence[Entry], known: Collection[str]) -> list[Problem]:
    """What is missing, for each."""
    return [_problem(entry, {other.name for other in unmet}, known) for entry in unmet]


def _problem(entry: Entry, aside: set[str], known: Collection[str]) -> Problem:
    # Of what it requires itself the cause is told there.
    missing = [
        f"{name!r}, which is not served itself" if name in aside else f"{name!r}, which {NOWHERE}"
        for name in entry.settings.requires or ()
        if name not in known
    ]
    text = f"handler {entry.name!r} is not served: it requires {' and '.join(missing)}"
    return Problem(entry.file, entry.line, text)
