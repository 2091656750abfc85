"""What went wrong in a handler, as the wire carries it: type, message, stack, whether to retry, and the facts.

The stack shows the author's frames: those of the SDK, which called them, are cut.
"""

from __future__ import annotations

import os

from .errors import CallError, InvalidJobDataError, RetryLater, UnrecoverableError
from .json_values import encode
from .logger import cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

MAX_TYPE, MAX_MESSAGE, MAX_STACK = 200, 16 * 1024, 64 * 1024
MAX_DATA = 64 * 1024
"""Bytes of JSON of an exception's own attributes; beyond it they are dropped, the fields and causes stay."""
MAX_CAUSES = 8
MAX_KINDS = 16
_ROOTS = (Exception, BaseException, object)

_SDK = os.path.dirname(os.path.abspath(__file__)) + os.sep


def error_map(error: BaseException) -> dict[str, Any]:
    """Give the map `error` of PROTOCOL.md section 2. Never raises, whatever the exception does when it is looked at."""
    try:
        return {
            "type": cut(type_of(error), MAX_TYPE),
            "message": message_of(error),
            "stack": stack_of(error),
            "retry": _retry_of(error),
            "data": _data_of(error),
            **_more_of(error),
        }
    except BaseException as second:  # noqa: BLE001 - MemoryError, or a `__str__` that raises SystemExit
        name = type(second).__name__
        return {"type": type(error).__name__[:MAX_TYPE], "message": f"(its description failed: {name})", "stack": ""}


def cancelled_error(reason: str, type: str = "CancelledError") -> dict[str, Any]:
    """The error of a run that was cancelled, or, as `NotStartedError`, never began."""
    return {"type": type, "message": f"the run was cancelled: {reason}", "stack": "", "retry": None, "data": None}


def type_of(error: BaseException) -> str:
    """The name of its class; for what the host answered to a call, the name the host gave."""
    return error.type if type(error) is CallError else type(error).__name__


def message_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the handler called sys.exit({'' if error.code is None else repr(error.code)})"
    try:
        return cut(str(error), MAX_MESSAGE)
    except Exception as second:  # noqa: BLE001 - `__str__` is the author's
        return f"(its __str__ raised {type(second).__name__})"


def one_line(error: BaseException) -> str:
    """Such as `SyntaxError: invalid syntax`, for a problem."""
    text = error.msg if isinstance(error, SyntaxError) else message_of(error)
    return f"{type_of(error)}: {' '.join(text.split())}" if text else type_of(error)


def line_in(error: BaseException, file: str) -> int | None:
    """The line of `file`, a relative path, that raised: the innermost of its frames; None if it has none."""
    if isinstance(error, SyntaxError) and error.filename and error.filename.endswith(file):
        return error.lineno
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(os.sep + file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def stack_of(error: BaseException) -> str:
    """The traceback as Python prints it, causes included, without frames of the SDK."""
    from traceback import StackSummary, TracebackException

    shown = TracebackException(type(error), error, _authors(error.__traceback__))
    seen: set[int] = set()
    parts: list[Any] = [shown]
    while parts:
        part = parts.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack = StackSummary.from_list([frame for frame in part.stack if not _is_ours(frame.filename)])
        parts += [part.__cause__, part.__context__]
    text = "".join(shown.format())
    if len(text) > MAX_STACK // 2:  # the end says most: the last call and the exception itself
        text = text[: MAX_STACK // 8] + "\n  …\n" + text[-MAX_STACK // 4 :]
    return cut(text, MAX_STACK)


def _authors(trace: TracebackType | None) -> TracebackType | None:
    """Skip the SDK's frames before the author's, so that they are not even formatted."""
    while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_ours(filename: str) -> bool:
    return filename.startswith((_SDK, "<frozen importlib"))


def _retry_of(error: BaseException) -> Any:
    if isinstance(error, RetryLater):
        return error.delay_ms
    if isinstance(error, UnrecoverableError):
        return False
    # The class of BullMQ's Python package, honoured by name: a ported handler goes on raising it.
    return False if any(kind.__name__ == "UnrecoverableError" for kind in type(error).__mro__) else None


def _more_of(error: BaseException) -> dict[str, Any]:
    """What few errors have: classes between theirs and the language's own roots, by which jobs may be retried, and that coming back later
    counts as an attempt."""
    more: dict[str, Any] = {}
    kinds = [kind.__name__[:MAX_TYPE] for kind in type(error).__mro__[1:] if kind not in _ROOTS][:MAX_KINDS]
    if kinds:
        more["kinds"] = kinds
    if isinstance(error, RetryLater) and error.uses_attempt:
        more["uses_attempt"] = True
    return more


def _data_of(error: BaseException) -> bytes | None:
    facts: dict[str, Any] = {}
    for key, value in vars(error).items():
        if not key.startswith("_") and key not in ("fields", "cause") and _fits(value):
            facts[key] = value
    if isinstance(error, (RetryLater, CallError)):
        facts = {}
    if isinstance(error, InvalidJobDataError) and _fits(error.fields):
        facts["fields"] = error.fields
    cause = _cause_of(error, MAX_CAUSES)
    if cause is not None:
        facts["cause"] = cause
    return encode(facts, "data") if facts else None


def _fits(value: Any) -> bool:
    try:
        return len(encode(value, "")) <= MAX_DATA
    except Exception:  # noqa: BLE001 - InvalidValueError as a rule; a dict subclass may raise anything
        return False


def _cause_of(error: BaseException, left: int) -> dict[str, Any] | None:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is None or not left:
        return None
    message = cut(message_of(cause), 2000)
    return {"type": cut(type_of(cause), MAX_TYPE), "message": message, "cause": _cause_of(cause, left - 1)}
