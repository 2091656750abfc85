"""Values of the configuration that are wrong, each with the words that correct it."""

from pathlib import Path

import pytest
from jobhost.config.document import Config, Document
from jobhost.config.problems import InvalidConfigurationError

WRONG = [
    ('bundles = "handlers"', "bundles: should be a list, not 'handlers'"),
    ("bundles = [3]", "bundles[0]: should be a table, not 3"),
    ("queues = 3", "queues: should be a table of tables, not 3"),
    ("queues.q = 3", "queues.q: should be a table, not 3"),
    ("defaults.paused = 1", "defaults.paused: should be true or false, not 1"),
    ("defaults.attempts = true", "defaults.attempts: should be a whole number, not true"),
    ("defaults.attempts = 3.0", "defaults.attempts: should be a whole number, not 3.0"),
    ("defaults.attempts = 99999999999", "defaults.attempts: should be a whole number, not 99999999999"),
    ("defaults.max_stalled = -1", "defaults.max_stalled: should be 0 or more, not -1"),
    ('defaults.lease = "0s"', "defaults.lease: '0s' must be longer than nothing"),
    ('defaults.lease = "9999d"', "defaults.lease: '9999d' is longer than ten years"),
    ("defaults.max_payload = 5", 'defaults.max_payload: 5 has no unit: write "5MiB" or "5B"'),
    ('defaults.max_payload = "0B"', "defaults.max_payload: '0B' is out of range"),
    ('defaults.unknown_jobs = "drop"', 'defaults.unknown_jobs: should be "fail" or "release", not \'drop\''),
    ('defaults.dead_letter = " "', "defaults.dead_letter: must not be empty"),
    ("defaults.dead_letter = 3", "defaults.dead_letter: should be a text, not 3"),
    ("defaults.backoff = { jitter = 2 }", "defaults.backoff.jitter: should be a number from 0 to 1, not 2"),
    ("defaults.backoff = true", "defaults.backoff: should be a table, not true"),
    ("defaults.rate_limit = { max = 1 }", "defaults.rate_limit.every: is missing"),
    ('defaults.keep_failed = "none"', "defaults.keep_failed.count: 'none' is not a count: write 0 or more, or \"all\""),
    ('defaults.handlers = ["a", ""]', "defaults.handlers: ['a', ''] is neither \"*\" nor a list of handler names"),
    ('http = "localhost"', 'http: \'localhost\' is not an address: write "HOST:PORT" or "off"'),
    ("queue_url = 3", "queue_url: is not a queue URL: write memory://, sqlite:///FILE, redis://… or postgresql://…"),
    ("uid_range = [1]", "uid_range: should be [FIRST, LAST], not [1]"),
    ("routes = [1]", "routes[0]: should be a table, not 1"),
    ('bundles = [{ path = "h", env = ["A=B"] }]', "bundles[0].env[0]: 'A=B' is not the name of a variable"),
    ('bundles = [{ path = "h", package = "p" }]', 'bundles[0]: needs either path = "FOLDER" or package = "NAME"'),
    ("schedules.s = {}", "schedules.s: a schedule has one of cron, every and at; this one has none of them"),
    (
        'schedules.s = { every = "1s", at = "2030-01-01T00:00Z" }',
        "schedules.s: a schedule has one of cron, every and at; this one has every and at",
    ),
    (
        'schedules.s = { cron = "* * * *" }',
        "schedules.s: '* * * *' is no cron expression: Wrong number of fields; write five fields, such as '0 7 * * MON-FRI'",
    ),
    (
        'schedules.s = { cron = "* * * * *", tz = "Berlin" }',
        "schedules.s: 'Berlin' is no time zone; write one such as Europe/Berlin",
    ),
    (
        'schedules.s = { at = "2030-01-01T00:00" }',
        "schedules.s.at: 2030-01-01T00:00:00 could be anywhere: write its offset, such as 2030-01-01T00:00:00Z",
    ),
    (
        'schedules.s = { every = "1s", overlap = "wait" }',
        'schedules.s.overlap: should be "allow", "skip" or "replace", not \'wait\'',
    ),
    (
        'schedules.s = { every = "1s", bullmq = true, jitter = "1s" }',
        "schedules.s: a job scheduler of BullMQ knows cron, tz and every; no at, overlap, catch_up, jitter and pause",
    ),
    ('state.cleanup = "always"', 'state.cleanup: should be "on_complete", "ttl" or "never", not \'always\''),
    (
        'bundles = [{ path = "h", state = ["all"] }]',
        'bundles[0].state[0]: should be "flow", "job", "handler" or "global", not \'all\'',
    ),
    ("handlers.h.input = 3", "handlers.h.input: should be a JSON Schema, not 3"),
    ("handlers.h.key = []", "handlers.h.key: should be a text, not []"),
    (
        "handlers.h.flow = { emits = 3 }",
        "handlers.h.flow.emits: should be a list of triggers, or a table from trigger to JSON Schema, not 3",
    ),
    ('handlers.h.flow.emits = ["a", 7]', "handlers.h.flow.emits[1]: should be a text, not 7"),
    ("handlers.h.flow.emits = { a = 7 }", "handlers.h.flow.emits.a: should be a JSON Schema, not 7"),
    ("handlers.h.result = []", "handlers.h.result: should be a JSON Schema, not []"),
    ("handlers.h.result.const = 2026-01-31", "handlers.h.result: holds a date, which is no JSON value"),
    ("handlers.h.result.maximum = inf", "handlers.h.result: holds inf, which is no JSON value"),
    (f"handlers.h.input = {'{ not = ' * 70}true{' }' * 70}", "handlers.h.input: nests over 64 deep"),
    ('hooks = ["mirror"]', """hooks[0]: 'mirror' is no import path: write "package.module:NAME\""""),
    ('hooks = "a.b:C"', "hooks: should be a list, not 'a.b:C'"),
    ("handlers.h.version = 1", "handlers.h.version: should be a text, not 1"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_value_says_what_to_write(text: str, problem: str) -> None:
    """B3: every kind of value has its words, and a wrong one is never taken for another."""
    import tomllib

    with pytest.raises(InvalidConfigurationError) as caught:
        Document.model_validate(tomllib.loads(text))
    assert str(caught.value) == problem


def test_a_long_value_is_not_quoted_whole() -> None:
    """B1: a message stays readable."""
    with pytest.raises(InvalidConfigurationError) as caught:
        Document.model_validate({"shutdown_timeout": "1s", "defaults": {"paused": "x" * 9_000}})
    assert len(str(caught.value)) < 200


def test_right_values_of_the_rarer_kinds(tmp_path: Path) -> None:
    """B3: what can be written in several forms."""
    written = {
        "uid_range": [100_000, 100_010],
        "routes": [{"name": ["a.*"], "to": "b"}],
        "defaults": {"handlers": ["a"], "backoff": "5s"},
        "handlers": {"h": {"input": {"type": "object"}, "key": ["data.b"], "flow": {"emits": ["x"], "join": "all"}}},
        "bundles": [{"path": tmp_path, "state": ["global"], "env": ["A"]}],
    }
    config = Config.model_validate(written)
    assert (config.bundles[0].path, config.bundles[0].state) == (tmp_path, ["global"])
    assert config.defaults.backoff is not None
    assert (config.defaults.backoff.type, config.defaults.backoff.delay) == ("fixed", 5_000)
    assert config.handlers["h"].flow is not None
    assert config.handlers["h"].flow.model_dump()["join"] == "all"
