"""What variables say of the configuration."""

from pathlib import Path

import pytest
from jobhost.config.environment import filled_redis_url
from jobhost.config.load import Flags, load
from jobhost.config.problems import InvalidConfigurationError
from jobhost.config.queues import QueueSettings, queue_settings
from jobhost.queues.job import Keep


def settings(tmp_path: Path, environ: dict[str, str], text: str = "") -> QueueSettings:
    (tmp_path / "jobhost.toml").write_text(text)
    return queue_settings(load(Flags(), environ, tmp_path).config, "q")


def test_keys_of_defaults_are_variables_too(tmp_path: Path) -> None:
    """B4: JOBHOST_<KEY> is a key of [defaults]; numbers, durations, truth values and tables as TOML writes them."""
    environ = {
        "JOBHOST_CONCURRENCY": "7",
        "JOBHOST_TIMEOUT": "90s",
        "JOBHOST_PAUSED": "true",
        "JOBHOST_KEEP_FAILED": '{ count = 5, age = "1h" }',
        "JOBHOST_KEEP_COMPLETED": "all",
        "JOBHOST_DEAD_LETTER": "7",
    }
    found = settings(tmp_path, environ)
    assert (found.concurrency, found.timeout, found.paused, found.dead_letter) == (7, 90_000, True, "7")
    assert (found.keep_failed, found.keep_completed) == (Keep(5, 3_600_000), Keep())


def test_a_queue_of_its_own_wins_over_a_variable(tmp_path: Path) -> None:
    """B4: the variable is a default: [queues.Q] is nearer."""
    text = "[defaults]\nconcurrency = 2\n[queues.q]\nconcurrency = 3"
    assert settings(tmp_path, {"JOBHOST_CONCURRENCY": "7"}, text).concurrency == 3


def test_worker_concurrency_fills_a_gap(tmp_path: Path) -> None:
    """B4: WORKER_CONCURRENCY holds where neither file nor JOBHOST_CONCURRENCY say otherwise."""
    assert settings(tmp_path, {"WORKER_CONCURRENCY": "4"}).concurrency == 4
    assert settings(tmp_path, {"WORKER_CONCURRENCY": "4"}, "[defaults]\nconcurrency = 2").concurrency == 2
    assert settings(tmp_path, {"WORKER_CONCURRENCY": "4", "JOBHOST_CONCURRENCY": "5"}).concurrency == 5


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WORKER_CONCURRENCY", "many", "defaults.concurrency: should be a whole number, not 'many'"),
        ("JOBHOST_CONCURRENCY", "0", "defaults.concurrency: should be 1 or more, not 0"),
        (
            "JOBHOST_SHUTDOWN_TIMEOUT",
            "15",
            'shutdown_timeout: 15 has no unit: write "15s" for seconds or "15ms" for milliseconds',
        ),
        ("JOBHOST_HTTP", "9091", 'http: \'9091\' is not an address: write "HOST:PORT" or "off"'),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str, problem: str, tmp_path: Path) -> None:
    """B4: mistakes in the environment name the variable, and durations carry units there too."""
    with pytest.raises(InvalidConfigurationError) as caught:
        load(Flags(), {name: value}, tmp_path)
    assert str(caught.value) == f"${name}: {problem}"


def test_unknown_variables_are_only_warned_about(tmp_path: Path) -> None:
    """B4: an unknown JOBHOST_* is warned about with the nearest known one; our own internals are not."""
    environ = {
        "JOBHOST_QUEUEURL": "x",
        "JOBHOST_RPC_FD": "3",
        "JOBHOST_TOKEN_FILE": "x",
        "JOBHOST_DEBUG": "1",
        "OTHER": "x",
    }
    assert [str(warning) for warning in load(Flags(), environ, tmp_path).warnings] == [
        "$JOBHOST_QUEUEURL: unknown variable (nearest known: JOBHOST_QUEUE_URL)"
    ]


def test_an_empty_variable_is_unset(tmp_path: Path) -> None:
    """B4: container platforms set names to nothing."""
    assert settings(tmp_path, {"JOBHOST_CONCURRENCY": "", "WORKER_CONCURRENCY": ""}).concurrency == 10


REDIS = {"REDIS_HOST": "cache", "REDIS_PORT": "6380", "REDIS_PASSWORD": "p@ss", "REDIS_DB": "2"}


@pytest.mark.parametrize(
    ("url", "environ", "filled"),
    [
        ("sqlite:///x.db", REDIS, "sqlite:///x.db"),
        ("memory://", REDIS, "memory://"),
        ("redis://", REDIS, "redis://:p%40ss@cache:6380/2"),
        ("redis://own:1/0", REDIS, "redis://:p%40ss@own:1/0"),
        ("redis://me:mine@own/0", REDIS, "redis://me:mine@own/0"),
        ("redis://", {"REDIS_URL": "rediss://u:p@there:1/3"}, "rediss://u:p@there:1/3"),
        ("redis://", {"REDIS_TLS": "true", "REDIS_PORT": "1"}, "rediss://localhost:1"),
        ("redis://", {}, "redis://"),
    ],
)
def test_redis_variables_fill_gaps_of_a_redis_url_only(url: str, environ: dict[str, str], filled: str) -> None:
    """B4: REDIS_HOST and its kin are injected by container platforms: they never choose the store."""
    assert filled_redis_url(url, environ) == filled


def test_redis_variables_never_choose_the_store(tmp_path: Path) -> None:
    """B4: with REDIS_URL in the environment the store stays what it was."""
    assert load(Flags(), {"REDIS_URL": "redis://x"}, tmp_path).config.queue_url.startswith("sqlite:///")
