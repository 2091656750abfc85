"""What queues of one host share: a handler's own limit and the places of its pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from .hosting import bundle, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
JOBS = 30


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_a_handlers_limit_holds_over_all_queues_of_a_host(kind: str, isolation: str, tmp_path: Path) -> None:
    """H1: `concurrency` of a handler is for the host, whichever of its queues the jobs come from."""
    table = bundle("python", only="overlap", isolation=isolation, pool={"children": 1})
    limits = {"overlap": {"concurrency": 1}}
    queues: dict[str, object] = {name: {} for name in ("a", "b", "c")}
    async with hosted(make_backend(kind, tmp_path), table, queues=queues, handlers=limits) as serving:
        ids = [(await serving.add("overlap", queue=queue), queue) for _ in range(JOBS) for queue in queues]
        seen = {result_of(await serving.done(id, queue)) for id, queue in ids}
    assert seen == {1}
