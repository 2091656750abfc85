"""What is said of a run that failed: type, message, the author's frames, whether to retry, and the facts."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from jobhost_sdk.discovery import forget_bundle, load_bundle
from jobhost_sdk.errors import CallError, InvalidJobDataError, RetryLater, UnrecoverableError
from jobhost_sdk.failure import MAX_STACK, cancelled_error, error_map


def raised(error: BaseException) -> dict[str, Any]:
    """The map of an exception that was raised, its data decoded."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        described = error_map(caught)
    if described.get("data") is not None:
        described["data"] = json.loads(described["data"])
    return described


class Port:
    def call(self, method: str, params: dict[str, Any]) -> Any:
        raise AssertionError(method)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        raise AssertionError(method)


PORT = Port()


def test_an_exception() -> None:
    described = raised(ValueError("no width"))
    assert (described["type"], described["message"], described["retry"], described["data"]) == (
        "ValueError",
        "no width",
        None,
        None,
    )
    assert described["stack"].startswith("Traceback (most recent call last):\n")
    assert described["stack"].endswith("ValueError: no width\n")


def test_the_stack_shows_the_authors_frames_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "h.py").write_text("def handler(job, ctx):\n    return ctx.state.set('k', object())\n")
    loaded = load_bundle(str(tmp_path), ["h.py"])
    forget_bundle(str(tmp_path))
    from jobhost_sdk.state import SyncState

    class Ctx:
        state = SyncState(PORT)

    try:
        loaded.handlers["h"].call(None, Ctx)
    except Exception as error:  # noqa: BLE001
        stack = error_map(error)["stack"]
    assert "return ctx.state.set('k', object())" in stack
    assert "jobhost_sdk/" not in stack
    assert "state['k']: object is not a JSON value" in stack


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (ValueError(), None),
        (UnrecoverableError("never"), False),
        (RetryLater("5m"), 300_000),
        (InvalidJobDataError("bad"), False),
        (SystemExit(3), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_retry(error: BaseException, retry: Any) -> None:
    assert raised(error)["retry"] == retry


def test_bullmqs_own_unrecoverable_error_is_honoured_by_name() -> None:
    theirs = type("UnrecoverableError", (Exception,), {})
    assert raised(type("Worse", (theirs,), {})())["retry"] is False


def test_sys_exit_says_what_it_was() -> None:
    assert raised(SystemExit(3))["message"] == "the handler called sys.exit(3)"
    assert raised(SystemExit())["message"] == "the handler called sys.exit()"


def test_fields_causes_and_attributes() -> None:
    """G4: fields, causes."""
    error = InvalidJobDataError("bad", [{"field": "width", "message": "is required"}])
    assert raised(error)["data"] == {"fields": [{"field": "width", "message": "is required"}]}

    class Refused(Exception):
        def __init__(self) -> None:
            super().__init__("refused")
            self.status = 402
            self.response = object()
            self._secret = 1

    try:
        try:
            raise KeyError("k")
        except KeyError as inner:
            raise OSError("disk") from inner
    except OSError as outer:
        refused = Refused()
        refused.__cause__ = outer
    data = raised(refused)["data"]
    assert data["status"] == 402
    assert "response" not in data
    assert "_secret" not in data
    assert data["cause"]["type"] == "OSError"
    assert data["cause"]["cause"] == {"type": "KeyError", "message": "'k'", "cause": None}


def test_a_suppressed_context_is_no_cause() -> None:
    try:
        try:
            raise KeyError("k")
        except KeyError:
            raise OSError("disk") from None
    except OSError as error:
        described = error_map(error)
    assert described["data"] is None


def test_causes_that_go_in_circles_end() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert raised(first)["type"] == "ValueError"


def test_an_error_of_a_call_keeps_the_type_the_host_gave() -> None:
    described = raised(CallError("no", "SomethingNew"))
    assert (described["type"], described["message"]) == ("SomethingNew", "no")


class Hostile(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Vague(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_an_exception_that_cannot_be_shown_is_still_told() -> None:
    assert raised(Vague())["message"] == "(its __str__ raised ValueError)"
    described = raised(Hostile())
    assert described["type"] == "Hostile"
    assert "SystemExit" in described["message"]


def test_sizes_are_bounded() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("x" * 100_000)

    try:
        deep(200)
    except ValueError as error:
        described = error_map(error)
    assert len(described["message"]) < 17_000
    assert len(described["stack"].encode()) <= MAX_STACK + 100
    big = ValueError()
    big.blob = "x" * 1_000_000  # type: ignore[attr-defined]
    assert raised(big)["data"] is None


def test_a_recursion_error_is_described() -> None:
    def forever() -> None:
        forever()

    try:
        forever()
    except RecursionError as error:
        described = error_map(error)
    assert described["type"] == "RecursionError"
    assert len(described["stack"]) < 10_000


def test_cancelled() -> None:
    assert cancelled_error("timeout")["type"] == "CancelledError"
    assert cancelled_error("recall", "NotStartedError")["message"] == "the run was cancelled: recall"
