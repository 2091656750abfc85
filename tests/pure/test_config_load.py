"""Reading the configuration: where it is found, what wins, and every mistake with its place."""

from pathlib import Path

import pytest
from jobhost.config.document import Config
from jobhost.config.load import Flags, Loaded, load, served_bundles
from jobhost.config.problems import InvalidConfigurationError
from jobhost.config.queues import queue_settings
from jobhost.errors import ConfigurationError

NONE = Flags()


def wrong(text: str, tmp_path: Path, environ: dict[str, str] | None = None, flags: Flags = NONE) -> list[str]:
    (tmp_path / "jobhost.toml").write_text(text)
    with pytest.raises(InvalidConfigurationError) as caught:
        load(flags, environ or {}, tmp_path)
    return [str(problem) for problem in caught.value.problems]


def right(text: str, tmp_path: Path, environ: dict[str, str] | None = None, flags: Flags = NONE) -> Loaded:
    (tmp_path / "jobhost.toml").write_text(text)
    return load(flags, environ or {}, tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """B1: defaults when the file is absent; the store lies below the working directory."""
    loaded = load(Flags(), {}, tmp_path)
    assert loaded.config.queue_url == f"sqlite:///{tmp_path}/.jobhost/jobhost.db"
    assert loaded.config.shutdown_timeout == 15_000
    assert loaded.config.source is None
    assert loaded.warnings == []


def test_durations_become_milliseconds_and_sizes_bytes(tmp_path: Path) -> None:
    """B3: durations carry units in the file, and lose them once."""
    config = right(
        'shutdown_timeout = "1.5s"\n[[bundles]]\npath = "h"\npool = { idle_timeout = "2m" }\n[queues.q]\nmax_payload = "2MiB"\n',
        tmp_path,
    ).config
    assert config.shutdown_timeout == 1_500
    assert config.bundles[0].pool.idle_timeout == 120_000
    assert queue_settings(config, "q").max_payload == 2 * 1024**2


def test_user_values_go_over_defaults_member_by_member(tmp_path: Path) -> None:
    """B1: a deep merge; a table with one key keeps the defaults of the others."""
    config = right('[[bundles]]\npath = "h"\n[bundles.pool]\nchildren = 3\n', tmp_path).config
    pool = config.bundles[0].pool
    assert (pool.children, pool.concurrency, pool.max_runs, pool.idle_timeout) == (3, 16, 1_000, 60_000)
    assert config.bundles[0].limits.grace == 5_000


def test_every_mistake_at_once_each_with_line_and_nearest_key(tmp_path: Path) -> None:
    """B1: all mistakes in one pass, in the order of the file."""
    text = """\
shutdown_timeout = 15
[[bundles]]
isolaton = "process"
[bundles.pool]
children = 0
[queue.default]
[queues.images]
attempts = "3"
handlers = 3
backoff = { type = "exponental" }
[handlers."image.resize"]
timeout = "0s"
"""
    assert wrong(text, tmp_path) == [
        'jobhost.toml:1: shutdown_timeout: 15 has no unit: write "15s" for seconds or "15ms" for milliseconds',
        'jobhost.toml:2: bundles[0]: needs either path = "FOLDER" or package = "NAME"',
        "jobhost.toml:3: bundles[0].isolaton: unknown key (nearest known: isolation)",
        "jobhost.toml:5: bundles[0].pool.children: should be 1 or more, not 0",
        "jobhost.toml:6: queue: unknown key (nearest known: queues)",
        "jobhost.toml:8: queues.images.attempts: should be a whole number, not '3'",
        'jobhost.toml:9: queues.images.handlers: 3 is neither "*" nor a list of handler names',
        "jobhost.toml:10: queues.images.backoff.type: 'exponental' is not a strategy (nearest known: exponential)",
        'jobhost.toml:12: handlers."image.resize".timeout: \'0s\' would end every run at once: write "none" for no limit',
    ]


def test_the_error_is_a_configuration_error_that_says_it_all(tmp_path: Path) -> None:
    """G4: ConfigurationError; its text has a line for each mistake."""
    (tmp_path / "jobhost.toml").write_text("a = 1\nb = 2\n")
    with pytest.raises(ConfigurationError) as caught:
        load(Flags(), {}, tmp_path)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == ["jobhost.toml:1", "jobhost.toml:2"]


def test_a_key_far_from_all_lists_the_known_ones(tmp_path: Path) -> None:
    """B1: where nothing is near, the known keys are named."""
    (line,) = wrong("[queues.q.rate_limit]\nmax = 1\nevery = '1s'\nxyzzy = 1", tmp_path)
    assert line == "jobhost.toml:4: queues.q.rate_limit.xyzzy: unknown key (known: every, max)"


@pytest.mark.parametrize("key", ["source", "base_dir"])
def test_what_the_host_notes_for_itself_is_no_key(key: str, tmp_path: Path) -> None:
    """B1: the fields that say where a configuration comes from can't be written."""
    assert "unknown key" in wrong(f'{key} = "/"', tmp_path)[0]


def test_a_file_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    """B1: a syntax error names file and line."""
    assert wrong('prefix = "a"\nhttp = \n', tmp_path) == ["jobhost.toml:2: is not TOML: Invalid value"]


def test_a_file_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    """B1: garbage in the place of the file is an error, not a traceback."""
    (tmp_path / "jobhost.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConfigurationError, match=r"jobhost\.toml: cannot be read: is not UTF-8"):
        load(Flags(), {}, tmp_path)


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    """B1: --config and JOBHOST_CONFIG name a file that is there, or else an error."""
    with pytest.raises(InvalidConfigurationError, match=r"other\.toml: cannot be read: No such file"):
        load(Flags(config=Path("other.toml")), {}, tmp_path)
    with pytest.raises(InvalidConfigurationError, match=r"more\.toml: cannot be read"):
        load(Flags(), {"JOBHOST_CONFIG": "more.toml"}, tmp_path)


def test_the_file_is_found_by_walking_up_and_its_paths_are_its_own(tmp_path: Path) -> None:
    """B1: paths and sqlite:/// in the file are relative to the file."""
    (tmp_path / "jobhost.toml").write_text(
        'queue_url = "sqlite:///jobs.db"\n[[bundles]]\npath = "h"\npython = ".venv/bin/python"\nnode = "node22"\n'
    )
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    config = load(Flags(), {}, below).config
    assert config.queue_url == f"sqlite:///{tmp_path}/jobs.db"
    assert config.bundles[0].path == tmp_path / "h"
    assert config.bundles[0].python == f"{tmp_path}/.venv/bin/python"
    assert config.bundles[0].node == "node22"
    assert config.source == tmp_path / "jobhost.toml"


def test_paths_of_flags_and_variables_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    """B4: JOBHOST_QUEUE_URL and --queue-url: relative to where the command runs."""
    (tmp_path / "jobhost.toml").write_text('queue_url = "sqlite:///jobs.db"')
    below = tmp_path / "below"
    below.mkdir()
    environ = {"JOBHOST_QUEUE_URL": "sqlite:///mine.db"}
    assert load(Flags(), environ, below).config.queue_url == f"sqlite:///{below}/mine.db"
    assert load(Flags(queue_url="sqlite:///flag.db"), environ, below).config.queue_url == f"sqlite:///{below}/flag.db"


def test_pyproject_is_read_where_it_speaks_of_us(tmp_path: Path) -> None:
    """B1: [tool.jobhost], with its lines; a pyproject.toml without it is passed over."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.jobhost]\nshutdown_timeout = "3s"\n')
    below = tmp_path / "below"
    below.mkdir()
    (below / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    assert load(Flags(), {}, below).config.shutdown_timeout == 3_000
    (tmp_path / "pyproject.toml").write_text("[tool.jobhost.queues.q]\nlease = 30\n")
    with pytest.raises(InvalidConfigurationError, match=r"pyproject\.toml:2: queues\.q\.lease: 30 has no unit"):
        load(Flags(), {}, tmp_path)
    with pytest.raises(InvalidConfigurationError, match=r"has no \[tool\.jobhost\] table"):
        load(Flags(config=below / "pyproject.toml"), {}, tmp_path)


def test_the_order_of_layers(tmp_path: Path) -> None:
    """B4: defaults < file < JOBHOST_* < flags."""
    text = 'queue_url = "sqlite:////file.db"\nshutdown_timeout = "1s"'
    environ = {"JOBHOST_QUEUE_URL": "sqlite:////env.db", "JOBHOST_SHUTDOWN_TIMEOUT": "2s"}
    config = right(text, tmp_path, environ, Flags(queue_url="memory://")).config
    assert (config.queue_url, config.shutdown_timeout) == ("memory://", 2_000)


def test_a_flag_keeps_the_isolation_that_the_file_gives_a_folder(tmp_path: Path) -> None:
    """Isolation is never weakened: --bundle DIR takes the settings of DIR from the file."""
    text = '[[bundles]]\npath = "h"\nenv = ["A"]\n[[bundles]]\npath = "other"'
    config = right(text, tmp_path, {}, Flags(bundles=[Path("./h"), Path("new")])).config
    assert [(bundle.path, bundle.env) for bundle in config.bundles] == [(tmp_path / "h", ["A"]), (tmp_path / "new", [])]


@pytest.mark.parametrize("url", ["sqlite://jobs.db", "sqlite:///", "jobs.db", "mysql://secret", "memory://x", ""])
def test_urls_that_are_none_are_refused(url: str, tmp_path: Path) -> None:
    """B1: a queue URL that can't be meant is an error that says what to write."""
    (line,) = wrong(f'queue_url = "{url}"', tmp_path)
    assert line.startswith("jobhost.toml:1: queue_url: ")
    assert "secret" not in line


def test_what_is_not_served_yet_is_said(tmp_path: Path) -> None:
    """Nothing is accepted in silence: a key whose feature is missing is warned about where it is written."""
    text = 'http = "127.0.0.1:1"\n[queues.q]\ndrain_delay = "1s"\n[defaults]\nprefix = "b"\n'
    warnings = right(text, tmp_path).warnings
    assert [(warning.line, warning.text) for warning in warnings] == [
        (1, "http is not served by this version"),
        (3, "queues.q.drain_delay is not served by this version"),
        (5, "defaults.prefix is not served by this version"),
    ]
    assert right('http = "off"', tmp_path).warnings == []


def test_a_mistake_that_a_variable_covers_is_still_one(tmp_path: Path) -> None:
    """B1: the file is checked by itself too."""
    assert wrong("shutdown_timeout = 1", tmp_path, {"JOBHOST_SHUTDOWN_TIMEOUT": "2s"})[0].startswith("jobhost.toml:1: ")


def test_without_bundles_the_folder_handlers_is_one(tmp_path: Path) -> None:
    """B1: no file and no flag: `handlers/` if it is there, else an error that says what to do."""
    config = load(Flags(), {}, tmp_path).config
    with pytest.raises(InvalidConfigurationError, match="jobhost init"):
        served_bundles(config, tmp_path)
    (tmp_path / "handlers").mkdir()
    assert [bundle.path for bundle in served_bundles(config, tmp_path).bundles] == [tmp_path / "handlers"]


def test_a_bundle_whose_folder_is_missing(tmp_path: Path) -> None:
    """B2: said with its line, but only to who wants to serve it."""
    config = right('[[bundles]]\nisolation = "none"\npath = "gone"', tmp_path).config
    with pytest.raises(
        InvalidConfigurationError, match=r"^jobhost\.toml:3: bundles\[0\]\.path: there is no folder gone$"
    ):
        served_bundles(config, tmp_path)


def test_node_never_runs_in_the_host(tmp_path: Path) -> None:
    """E1: isolation none is Python's alone."""
    (line,) = wrong('[[bundles]]\npath = "h"\nisolation = "none"\nlanguage = "node"', tmp_path)
    assert "only Python ones can" in line


def test_a_configuration_can_be_built_in_code() -> None:
    """D3: a host is configured from code by the same model."""
    assert Config(queue_url="memory://").shutdown_timeout == 15_000
