"""The forms a handler may have in a file, and which of them count as defined there."""

from __future__ import annotations

from .handlers import MARK, SETTINGS, Handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable


class Found:
    """A handler in a module, with the settings its author wrote. `target` is a callable, or a class to make one of."""

    __slots__ = ("line", "settings", "target")

    def __init__(self, target: Callable[..., Any], settings: dict[str, Any], line: int | None) -> None:
        self.target = target
        self.settings = settings
        self.line = line


def handlers_in(module: ModuleType) -> list[Found]:
    """Give the handlers defined in `module`, in the order of definition."""
    found: list[Found] = []
    seen: set[int] = set()
    for name, value in list(vars(module).items()):
        if id(value) in seen or not callable(value) or not _defined_in(value, module):
            continue
        form = _form_of(name, value, module)
        if form is not None:
            seen.add(id(value))
            found.append(form)
    return found


def given(target: Any) -> Found:
    """The form of something that is meant to be a handler, wherever it was defined."""
    mark = vars(target).get(MARK, {}) if hasattr(target, "__dict__") else {}
    form = _class_form(target, mark) if isinstance(target, type) else None
    return form or Found(target, mark, _line_of(target))


def hook_in(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """Give the function `setup` or `teardown` if it is defined in `module`, not only imported there."""
    value = vars(module).get(name)
    return value if callable(value) and not isinstance(value, type) and _defined_in(value, module) else None


def _form_of(name: str, value: Any, module: ModuleType) -> Found | None:
    mark = vars(value).get(MARK) if hasattr(value, "__dict__") else None
    if isinstance(value, type):
        return _class_form(value, mark)
    if mark is None and name == "handler":
        mark = _config_of(module)
    return None if mark is None else Found(value, mark, _line_of(value))


def _class_form(kind: type, mark: dict[str, Any] | None) -> Found | None:
    """A subclass of `Handler` that says how to run; one without `run`, or with a private name, is a base for others."""
    if not issubclass(kind, Handler):
        return None if mark is None else Found(kind, mark, None)
    if kind.run is Handler.run or (kind.__name__.startswith("_") and mark is None):
        return None
    settings = {key: getattr(kind, key) for key in SETTINGS if hasattr(kind, key)}
    settings = {key: value for key, value in settings.items() if key in ("input", "result") or not callable(value)}
    return Found(kind, {**settings, **_config_of(kind), **(mark or {})}, _line_of(kind.run))


def _config_of(owner: Any) -> dict[str, Any]:
    config = getattr(owner, "config", None)
    return config if isinstance(config, dict) else {}


def _defined_in(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def _line_of(value: Any) -> int | None:
    code = getattr(value, "__code__", None) or getattr(getattr(value, "__wrapped__", None), "__code__", None)
    return None if code is None else code.co_firstlineno
