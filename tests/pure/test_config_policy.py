"""What holds for one queue and one job, every layer settled."""

import pytest
from jobhost.config.document import Config
from jobhost.config.handlers import HandlerOptions, declared_options, handler_options
from jobhost.config.policy import Policy, job_policy
from jobhost.config.queues import queue_settings
from jobhost.config.retry import Backoff, backoff_json
from jobhost.queues.job import Job, Keep


def config(**tables: object) -> Config:
    return Config.model_validate({"queue_url": "memory://", **tables})


def job(**options: object) -> Job:
    return Job("1", "q", "h", b"null", "active", 0, 0, **options)  # type: ignore[arg-type]


def test_built_in_values() -> None:
    """B3: the built-in defaults of the contract."""
    settings = queue_settings(config(), "anything")
    assert (settings.concurrency, settings.attempts, settings.lease, settings.max_stalled) == (10, 3, 30_000, 1)
    assert settings.backoff == Backoff("exponential", 1_000, 0.5)
    assert (settings.keep_completed, settings.keep_failed) == (Keep(1_000), Keep(5_000))
    assert (settings.timeout, settings.max_payload, settings.max_child_deaths) == (3_600_000, 1_048_576, 3)
    assert (settings.unknown_jobs, settings.paused, settings.dead_letter) == ("fail", False, None)


def test_on_redis_a_queue_keeps_bullmqs_meaning() -> None:
    """B3: unset attempts are one and finished jobs stay, as other workers of the queue expect."""
    settings = queue_settings(Config(queue_url="redis://x"), "q")
    assert (settings.attempts, settings.unknown_jobs) == (1, "release")
    assert settings.keep_completed == settings.keep_failed == Keep()


def test_a_queue_over_defaults_over_built_in() -> None:
    """B3: per queue, with service defaults."""
    made = config(defaults={"attempts": 5, "concurrency": 2}, queues={"q": {"attempts": 7}})
    assert (queue_settings(made, "q").attempts, queue_settings(made, "q").concurrency) == (7, 2)
    assert queue_settings(made, "other").attempts == 5


def test_no_layer_loses_the_defaults_of_another() -> None:
    """Trap: a shallow merge that drops defaults. Each member of a table comes from its own layer."""
    made = config(
        defaults={"backoff": {"type": "fixed"}, "keep_failed": {"age": "7d"}},
        queues={"q": {"backoff": {"delay": "9s"}, "keep_failed": 10}},
        handlers={"h": {"backoff": {"jitter": 0.25}}},
    )
    assert queue_settings(made, "q").backoff == Backoff("fixed", 9_000, 0.5)
    assert queue_settings(made, "q").keep_failed == Keep(10, 7 * 86_400_000)
    assert queue_settings(made, "other").keep_failed == Keep(5_000, 7 * 86_400_000)
    assert job_policy(job(), None, made).backoff == Backoff("fixed", 9_000, 0.25)


@pytest.mark.parametrize(
    ("written", "kept"),
    [(5, Keep(5)), (0, Keep(0)), ("all", Keep()), ({"count": "all", "age": "1h"}, Keep(None, 3_600_000))],
)
def test_forms_of_keep(written: object, kept: Keep) -> None:
    """B3: keep counts and ages."""
    assert queue_settings(config(queues={"q": {"keep_completed": written}}), "q").keep_completed == kept


LAYERS = {
    "defaults": {"attempts": 2, "timeout": "2s"},
    "queues": {"q": {"attempts": 3, "timeout": "3s"}},
    "handlers": {"h": {"attempts": 5, "timeout": "5s"}},
}
CODE = HandlerOptions.model_validate({"attempts": 4, "timeout": "4s"})


@pytest.mark.parametrize(
    ("own", "code", "layers", "expected"),
    [
        ({"max_attempts": 6, "timeout_ms": 6_000}, CODE, ("defaults", "queues", "handlers"), (6, 6_000)),
        ({}, CODE, ("defaults", "queues", "handlers"), (5, 5_000)),
        ({}, CODE, ("defaults", "queues"), (4, 4_000)),
        ({}, None, ("defaults", "queues"), (3, 3_000)),
        ({}, None, ("defaults",), (2, 2_000)),
        ({}, None, (), (3, 3_600_000)),
    ],
)
def test_the_order_of_an_option(
    own: dict[str, object], code: HandlerOptions | None, layers: tuple[str, ...], expected: tuple[int, int]
) -> None:
    """G2: timeouts per queue, handler, job: the job's own > the file's handler > its code > queue > defaults > built-in."""
    policy = job_policy(job(**own), code, config(**{name: LAYERS[name] for name in layers}))
    assert (policy.attempts, policy.timeout) == expected


def test_no_timeout_must_be_written_and_is_kept() -> None:
    """Trap: a falsy value turned into nothing: "none" on a handler holds over the queue's timeout."""
    made = config(queues={"q": {"timeout": "3s"}}, handlers={"h": {"timeout": "none"}})
    assert job_policy(job(), None, made).timeout == 0
    assert job_policy(job(timeout_ms=0), None, config()).timeout == 0


@pytest.mark.parametrize(
    ("stored", "backoff"),
    [
        (b'{"type": "fixed", "delay": 250}', Backoff("fixed", 250, 0.5)),
        (b'{"type": "exponential", "delay": 250, "jitter": 0}', Backoff("exponential", 250, 0)),
        (b"700", Backoff("fixed", 700, 0.5)),
        (b'{"delay": "soon", "jitter": 7}', Backoff()),
        (b"[", Backoff()),
        (b"true", Backoff()),
    ],
)
def test_a_jobs_own_backoff(stored: bytes, backoff: Backoff) -> None:
    """G1: milliseconds, as BullMQ stores them; what can't be understood is left out, and the retry still comes."""
    assert job_policy(job(backoff=stored), None, config()).backoff == backoff


def test_backoff_as_producers_write_it() -> None:
    """G1: a duration alone is a fixed delay."""
    assert backoff_json("5s") == b'{"type": "fixed", "delay": 5000}'
    assert backoff_json({"type": "exponential", "jitter": 0}) == b'{"type": "exponential", "jitter": 0.0}'
    with pytest.raises(ValueError, match="has no unit"):
        backoff_json(5)


def test_delays_grow_and_jitter_takes_away() -> None:
    """G1: fixed and exponential backoff with jitter, bounded however many attempts there are."""
    assert [Backoff("exponential", 1_000, 0).wait_ms(n, lambda: 0.5) for n in (1, 2, 3)] == [1_000, 2_000, 4_000]
    assert [Backoff("fixed", 1_000, 0).wait_ms(n, lambda: 0.5) for n in (1, 9)] == [1_000, 1_000]
    assert Backoff("fixed", 1_000, 0.5).wait_ms(1, lambda: 0.5) == 750
    assert Backoff("exponential", 86_400_000, 0).wait_ms(10_000, lambda: 0.0) < 2**53


def test_the_file_wins_over_a_handlers_code() -> None:
    """B2: handlerOptions and disabledHandlers over what the code says; what it leaves open stays the code's."""
    code = HandlerOptions.model_validate(
        {"queue": "images", "concurrency": 9, "backoff": {"type": "fixed", "delay": "1s"}}
    )
    made = config(handlers={"h": {"concurrency": 1, "enabled": False, "backoff": {"delay": "4s"}}})
    options = handler_options("h", code, made)
    assert (options.queue, options.concurrency, options.enabled) == ("images", 1, False)
    assert job_policy(job(), code, made).backoff == Backoff("fixed", 4_000, 0.5)
    assert handler_options("other", code, made) is code


def test_a_handler_for_every_name_takes_its_settings_along() -> None:
    """A12: [handlers."*"] holds for whatever job a handler named * runs, unless its own name is configured."""
    star = HandlerOptions.model_validate({"name": "*"})
    made = config(handlers={"*": {"attempts": 9}, "mine": {"attempts": 1}})
    assert job_policy(job(), star, made).attempts == 9
    assert job_policy(Job("1", "q", "mine", b"", "active", 0, 0), star, made).attempts == 1


def test_what_code_declares_is_checked_by_the_same_model() -> None:
    """A5: a wrong setting in code is a problem that names it; the right ones hold."""
    options, problems = declared_options({"queue": "q", "timeout": 30, "retires": 3, "concurrency": 0})
    assert (options.queue, options.timeout) == ("q", None)
    assert problems == [
        'timeout: 30 has no unit: write "30s" for seconds or "30ms" for milliseconds',
        "retires: unknown key (nearest known: requires)",
        "concurrency: should be 1 or more, not 0",
    ]


def test_which_handlers_serve_a_queue() -> None:
    """B2: `handlers` of a queue: all, or those named."""
    made = config(queues={"q": {"handlers": ["a"]}})
    assert queue_settings(made, "q").serves("a")
    assert not queue_settings(made, "q").serves("b")
    assert queue_settings(made, "other").serves("b")


def test_a_policy_is_a_value() -> None:
    """G1: two jobs under the same layers have the same policy."""
    assert job_policy(job(), None, config()) == Policy(3, Backoff(), 3_600_000)
