"""Which failed jobs are tried again, and when: rules by the class of an error, delays that the handler names, age, deadly jobs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from jobhost.config.bundles import Bundle
from jobhost.config.document import Config
from jobhost.config.handlers import declared_options
from jobhost.config.problems import InvalidConfigurationError
from jobhost.grants import capped, refused
from jobhost.queues.seam import Backend
from jobhost_runtimes.bundle import BundleSpec, HandlerInfo

from .functions import delayed_for, echo, serving, until
from .hosting import bundle, error_of, hosted

pytestmark = pytest.mark.anyio
RUNTIMES = {"in-process": bundle(isolation="none"), "python": bundle(), "node": bundle("node")}
HOUR = 3_600_000
SLOW = {"default": {"attempts": 5, "backoff": {"type": "fixed", "delay": "1m", "jitter": 0.0}}}


def rules(**by_class: Any) -> dict[str, Any]:
    return {"raises": {"retry": by_class}}


@pytest.mark.parametrize("runtime", list(RUNTIMES))
async def test_an_error_is_retried_by_the_rule_for_its_class(store: Backend, runtime: str) -> None:
    """G1: `retry` by class of error: the class itself, then those it derives from; `never`; what is unset stays the queue's."""
    retry = rules(ConnectionError={"delay": "1h", "type": "fixed"}, ValueError="never")
    async with hosted(store, RUNTIMES[runtime], queues=SLOW, handlers=retry) as host:
        before = int(time.time() * 1000)
        gateway = await host.add("raises", "GatewayError")
        job = await host.until(gateway, lambda job: job.state == "delayed")
        assert delayed_for(job, before) >= HOUR
        assert delayed_for(job, int(time.time() * 1000)) <= HOUR
        assert error_of(job)["type"] == "GatewayError"
        assert "kinds" not in error_of(job)
        job = await host.run("raises", "ValueError")
        assert (job.state, job.attempts_made) == ("failed", 1)


async def test_a_rule_may_have_attempts_of_its_own(store: Backend) -> None:
    """G1: `*` is for every class that has no rule; a job's own attempts do not change what an error means."""
    retry = rules(**{"GatewayError": {"attempts": 2, "delay": "1ms"}, "*": "never"})
    async with hosted(store, bundle(), queues=SLOW, handlers=retry) as host:
        job = await host.run("raises", "GatewayError", attempts=9)
        assert (job.state, job.attempts_made) == ("failed", 2)
        job = await host.run("raises", "ValueError", attempts=9)
        assert (job.state, job.attempts_made) == ("failed", 1)


async def test_rules_stand_in_code_too(store: Backend) -> None:
    def never(job: Any, ctx: Any) -> None:
        raise KeyError("no such customer")

    settings = {"retry": {"LookupError": "never"}}
    async with serving(store, {"never": (never, settings)}, queues=SLOW) as host:
        job = await host.run("never")
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 1, "KeyError")


async def test_errors_of_the_host_have_rules_too(store: Backend) -> None:
    """G1, G2: a timeout is an error like any other."""
    handlers = {"wait": {"timeout": "50ms", "retry": {"TimeoutError": "never"}}}
    table = {**bundle(), "limits": {"grace": "100ms"}}
    async with hosted(store, table, queues=SLOW, handlers=handlers) as host:
        job = await host.run("wait")
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 1, "TimeoutError")


@pytest.mark.parametrize("runtime", list(RUNTIMES))
async def test_a_delay_that_the_handler_names_may_use_an_attempt(store: Backend, runtime: str) -> None:
    """G1: as a server's `Retry-After` wants it; after the last attempt the job has failed."""
    async with hosted(store, RUNTIMES[runtime], queues={"default": {"attempts": 2}}) as host:
        before = int(time.time() * 1000)
        id = await host.add("busy", "1h")
        job = await host.until(id, lambda job: job.state == "delayed")
        assert delayed_for(job, before) >= HOUR
        assert (job.attempts_made, job.postponed, error_of(job)["type"]) == (1, 0, "RetryLater")
        await store.promote("default", id)
        job = await host.done(id)
        assert (job.state, job.attempts_made) == ("failed", 2)
        assert error_of(job)["message"] == "the server says when"


async def test_a_job_that_has_waited_too_long_fails_unrun(store: Backend) -> None:
    """G1: `max_age`; a replay begins it anew."""
    queues = {"default": {"max_age": "1m", "dead_letter": "dead"}}
    hour_ago = int(time.time() * 1000) - HOUR
    async with serving(store, {"echo": echo}, queues=queues) as host:
        old = await host.add("echo", 1, created_at=hour_ago)
        job = await host.done(old)
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 0, "JobExpiredError")
        assert "max_age" in error_of(job)["message"]
        [letter], _ = await store.jobs("dead")
        assert (await store.replay("dead", letter.id)).outcome == "replayed"
        assert (await host.done(old)).state == "completed"


async def test_a_step_that_is_too_old_fails_as_any_other(store: Backend) -> None:
    """G1, F5: its flow goes by the edge of its failure."""
    seen: list[Any] = []

    def pack(job: Any, ctx: Any) -> None:
        raise AssertionError("it is too old to run")

    def refund(job: Any, ctx: Any) -> None:
        seen.append(job.data["error"]["type"])

    flow = {"name": "orders", "step": "pack", "on_failure": "continue"}
    edge = {"name": "orders", "subscribes": ["step:pack:failed"]}
    functions = {"pack": (pack, {"flow": flow}), "refund": (refund, {"flow": edge})}
    async with serving(store, functions, queues={"default": {"max_age": "1m"}}) as host:
        hour_ago = int(time.time() * 1000) - HOUR
        old = await host.add("pack", {"flowId": "f", "flowName": "orders"}, created_at=hour_ago)
        assert (await host.done(old)).state == "failed"
        await until(lambda: seen == ["JobExpiredError"])


async def test_no_attempt_is_planned_for_after_the_maximum_age(store: Backend) -> None:
    """G1: a retry that would come too late is none."""

    def fail(job: Any, ctx: Any) -> None:
        raise ValueError("no")

    queues = {"default": {**SLOW["default"], "max_age": "30s"}}
    async with serving(store, {"fail": fail}, queues=queues) as host:
        job = await host.run("fail")
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 1, "ValueError")


async def test_a_job_that_kills_its_children_goes_to_the_dead_letters_with_the_dossier(store: Backend) -> None:
    """G3: a poison job ends after `max_child_deaths` children, whatever attempts are left."""
    queues = {"default": {"attempts": 10, "max_child_deaths": 2, "dead_letter": "dead"}}
    async with hosted(store, bundle(), queues=queues) as host:
        job = await host.run("die", "SIGKILL")
        assert (job.state, job.attempts_made, job.child_deaths) == ("failed", 2, 2)
        assert error_of(job)["message"].startswith(
            "2 children died with this job inside; the child was killed by SIGKILL"
        )
        [letter], _ = await store.jobs("dead")
        error = json.loads(letter.metadata or b"")["dead"]["error"]
        assert error["data"]["dossier"]["signal"] == "SIGKILL"


@pytest.mark.parametrize(
    ("retry", "text"),
    [
        ({"ValueError": "nevr"}, "nevr"),
        ({"ValueError": 5}, "5"),
        ({"ValueError": {"attempts": 0}}, "attempts: should be 1 or more"),
        ({"ValueError": {"tries": 1}}, "tries"),
        (True, "should be a table of tables, not true"),
    ],
)
def test_a_wrong_rule_is_said_where_it_stands(retry: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError) as raised:
        Config.model_validate({"handlers": {"a": {"retry": retry}}})
    assert text in str(raised.value)
    assert "handlers.a.retry" in str(raised.value)


def test_a_confined_handler_gives_itself_no_more_attempts_than_its_queue(tmp_path: Path) -> None:
    """G1: what a child says of itself is a request."""
    spec = BundleSpec("b", tmp_path, "python", "sandbox")
    code, wrong = declared_options({"retry": {"*": {"attempts": 1_000}, "ValueError": "never"}, "breaker": "stripe"})
    assert not wrong
    config = Config.model_validate({"queues": {"default": {"attempts": 4}}})
    allowed = capped(code, spec, config)
    assert allowed.retry is not None
    assert {name: rule.attempts for name, rule in allowed.retry.items()} == {"*": 4, "ValueError": 1}
    bundle_table = Bundle.model_validate({"path": tmp_path, "isolation": "sandbox", "names": ["*"]})
    info = HandlerInfo("pay", "pay.py", 1, "sync", {})
    [text] = refused(info, code, spec, bundle_table)
    assert "the breaker 'stripe' is others' too" in text
