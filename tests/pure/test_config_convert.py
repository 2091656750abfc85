"""`jobhost init --from config.json`: the older form becomes a jobhost.toml that says the same."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobhost.config.convert import converted
from jobhost.config.document import Document
from jobhost.errors import ConfigurationError

OLDER = Path(__file__).parents[1] / "fixtures" / "config" / "older.json"


def test_every_known_key_is_converted() -> None:
    """B2: directories, queues, disabled handlers and handler options; milliseconds get units, drainDelay is seconds."""
    table = tomllib.loads(converted(OLDER.read_text()))
    assert [bundle["path"] for bundle in table["bundles"]] == ["handlers/core", "handlers/custom"]
    assert table["queues"]["mails"] == {}
    assert table["queues"]["jobs"] == {
        "concurrency": 5,
        "attempts": 4,
        "backoff": {"type": "exponential", "delay": "2s"},
        "timeout": "1.5m",
        "lease": "45s",
        "drain_delay": "5s",
        "keep_completed": {"count": 100, "age": "1h"},
        "rate_limit": {"max": 10, "every": "1s"},
        "paused": True,
    }
    assert table["handlers"] == {
        "image.resize": {"concurrency": 2, "timeout": "30s"},
        "old.one": {"enabled": False},
    }


def test_the_result_is_a_valid_configuration() -> None:
    """B2: what is written is taken as it is."""
    document = Document.model_validate(tomllib.loads(converted(OLDER.read_text())))
    assert document.handlers["image.resize"].timeout == 30_000


def test_what_has_no_counterpart_is_kept_as_a_comment() -> None:
    """B2: nothing is dropped in silence."""
    text = converted(OLDER.read_text())
    assert "# not converted: shiny = true" in text
    assert "# hotReload = true" in text


@pytest.mark.parametrize(
    ("settings", "comment"),
    [
        ('{"concurrency": "5"}', '# not converted: concurrency = "5"'),
        ('{"timeout": -1}', "# not converted: timeout = -1"),
        ('{"backoff": {"type": "custom"}}', '# not converted: backoff = {"type": "custom"}'),
    ],
)
def test_a_value_that_makes_no_sense_is_kept_as_a_comment(settings: str, comment: str) -> None:
    """B2: a wrong value never becomes a wrong setting."""
    assert comment in converted('{"queueConfigs": {"q": ' + settings + "}}")


@pytest.mark.parametrize("text", ["[]", "{", '{"queueNames": "jobs"}', '{"handlerOptions": []}'])
def test_another_kind_of_file_is_refused(text: str) -> None:
    """B2: a file of another form gives an error and no half conversion."""
    with pytest.raises(ConfigurationError):
        converted(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_survives(name: str) -> None:
    """B2: names are quoted as TOML needs it."""
    import json

    table = tomllib.loads(converted(json.dumps({"queueConfigs": {name: {"attempts": 2}}, "other": name})))
    assert table["queues"] == {name: {"attempts": 2}}
