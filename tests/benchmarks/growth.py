"""What a claim of 16 jobs costs beside a million others, compared with beside a thousand."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from tests.postgres_server import Instance

from .measure import Options, Row, program

SMALL = 1_000
LARGE = 1_000_000
CLAIMS = 300


def measure(options: Options) -> list[Row]:
    large = options.count(LARGE)
    rows: list[Row] = []
    server = Instance()
    for backend in ("sqlite", "memory", "postgres"):
        with TemporaryDirectory() as folder:
            # One round: small and large are claimed from in turn, and filling takes longer than measuring.
            given = {"backend": backend, "folder": folder, "url": server.url}
            found = program("growth", None, **given, small=SMALL, large=large, claims=CLAIMS)
        for state in ("waiting", "completed"):
            what = f"claim with {large:,} {state}, {backend}"
            ours, peer = found[f"{state}_large"], found[f"{state}_small"]
            rows.append(Row(what, ours, "us", peer, f"us with {SMALL:,}", at_most=1.3))
    server.close()
    return rows
