"""Tests of the handlers, as a project of yours would have them: `pytest` in this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobhost.testing import TestHost
from jobhost_sdk import InvalidJobDataError, UnrecoverableError
from jobhost_sdk.testing import run

WELCOME = Path(__file__).parent / "handlers" / "welcome_message.py"


def test_it_greets_in_english() -> None:
    ran = run(WELCOME, {"name": "Ada", "first_step": "Begin with the tour."})
    assert ran.result == {
        "subject": "Welcome, Ada",
        "text": "Hello Ada,\n\ngood to have you at jobhost. Begin with the tour.\n",
    }
    assert ran.progress == [100]
    assert ran.logs[0].fields == {"language": "en"}


def test_it_greets_in_german() -> None:
    assert run(WELCOME, {"name": "Grace", "language": "de"}).result["subject"] == "Willkommen, Grace"


def test_a_name_with_a_dollar_is_a_name() -> None:
    assert run(WELCOME, {"name": "$company"}).result["subject"] == "Welcome, $company"


@pytest.mark.parametrize(
    ("data", "field"), [({}, "name"), ({"name": ""}, "name"), ({"name": "A", "language": "xx"}, "language")]
)
def test_data_that_is_no_user_is_refused(data: dict[str, str], field: str) -> None:
    error = run(WELCOME, data).error
    assert isinstance(error, InvalidJobDataError)
    assert [problem["field"] for problem in error.fields] == [field]


def test_what_a_template_lacks_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "welcome_message.py").write_text(WELCOME.read_text("utf-8"))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "en.txt").write_text("Welcome, $name to $place\n")
    error = run(tmp_path / "welcome_message.py", {"name": "Ada"}).error
    assert isinstance(error, UnrecoverableError)
    assert "needs 'place'" in str(error)


def test_a_host_serves_it(jobhost: TestHost) -> None:
    jobhost.bundle(WELCOME)
    good, bad = jobhost.enqueue("welcomeMessage", {"name": "Ada"}), jobhost.enqueue("welcomeMessage", {})
    jobhost.run_until_idle()
    assert good.result["subject"] == "Welcome, Ada"
    assert bad.assert_failed("InvalidJobDataError")["fields"] == [{"field": "name", "message": "is required"}]
    assert bad.attempts == 1


def test_both_languages_write_the_same(jobhost: TestHost) -> None:
    jobhost.bundle(WELCOME.parent, isolation="process")
    data = {"name": "Grace", "language": "de", "first_step": "Los geht es."}
    jobs = [jobhost.enqueue(name, data) for name in ("welcomeMessage", "welcomeMessage.node")]
    jobhost.run_until_idle()
    assert jobs[0].result == jobs[1].result
