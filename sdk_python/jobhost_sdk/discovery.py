"""Load a bundle: import its files in order, find the handlers in each, and say what is wrong with the rest.

A file that fails is a problem and does not stop the others; a file that defines no handler is neither.
"""

from __future__ import annotations

import sys

from .calling import adapted, is_async
from .contracts import NONE, Contract, contract_of, tell
from .errors import ConfigurationError
from .failure import line_in, one_line
from .forms import Found, given, handlers_in, hook_in
from .handlers import SETTINGS, Handler, unknown_setting
from .json_values import encode
from .modules import BundleModules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any, Callable

    from .inputs import Check
    from .outputs import Encode


class LoadedHandler:
    """One handler, ready to be called.

    - `name`: the job name it serves, or `*`; `file`: relative to the root; `line`: of its definition, or None
    - `kind`: `"sync"` or `"async"`: whether `call(job, ctx)` gives the result or an awaitable of it
    - `settings`: as the author wrote them, schemas and models as they are told: a JSON Schema, or True
    - `validate`, `encode_result`, `payloads`: the checks of its contract, see `Contract`; None where nothing is declared
    """

    __slots__ = (
        "_plain",
        "call",
        "contract",
        "encode_result",
        "file",
        "kind",
        "line",
        "name",
        "payloads",
        "settings",
        "validate",
    )

    def __init__(
        self,
        name: str,
        file: str,
        line: int | None,
        kind: str,
        settings: dict[str, Any],
        call: Callable[[Any, Any], Any],
        contract: Contract = NONE,
    ) -> None:
        self.name = name
        self.file = file
        self.line = line
        self.kind = kind
        self.call = call
        self._plain = settings
        self.keep(contract)

    def keep(self, contract: Contract) -> None:
        """Take a contract as its own."""
        self.contract = contract
        self.validate: Check | None = contract.validate
        self.encode_result: Encode | None = contract.result
        self.payloads: dict[str, Encode] | None = contract.payloads
        self.settings = tell(self._plain, contract)

    def described(self) -> dict[str, Any]:
        """As `initialize` answers it."""
        return {**self.settings, "name": self.name, "file": self.file, "line": self.line, "kind": self.kind}


class Loaded:
    """What a bundle holds.

    `handlers`: by name; `problems`: maps of `file`, `line`, `error`; `setups`, `teardowns`: callables of one argument,
    `ctx`, in the order of their files.
    """

    __slots__ = ("handlers", "problems", "setups", "teardowns")

    def __init__(self) -> None:
        self.handlers: dict[str, LoadedHandler] = {}
        self.problems: list[dict[str, Any]] = []
        self.setups: list[Callable[[Any], Any]] = []
        self.teardowns: list[Callable[[Any], Any]] = []

    def problem(self, file: str, line: int | None, error: str) -> None:
        self.problems.append({"file": file, "line": line, "error": " ".join(error.split())[:2000]})

    def overrule(self, given: dict[str, dict[str, Any]]) -> None:
        """Put what the host's file says over the contracts of handlers, by name; `""` stands for those that have no entry.

        A handler whose entry is wrong is a problem, and is not served: unchecked data must not reach it.
        """
        for handler in list(self.handlers.values()):
            said = given.get(handler.name) or given.get("")
            if not said:
                continue
            try:
                handler.keep(handler.contract.overruled(said))
            except ConfigurationError as error:
                del self.handlers[handler.name]
                self.problem(handler.file, handler.line, f"[handlers.{handler.name!r}] of the host's file: {error}")

    @property
    def needs_loop(self) -> bool:
        """Whether anything in it has to be awaited."""
        hooks = [*self.setups, *self.teardowns]
        return any(item.kind == "async" for item in self.handlers.values()) or any(is_async(hook) for hook in hooks)


def load_bundle(root: str, files: Iterable[str]) -> Loaded:
    """Load `files`, paths relative to the absolute path `root`, in order.

    In a process that loads the same root a second time, call `forget_bundle` before it.
    """
    modules = BundleModules(root)
    modules.prepare()
    loaded = Loaded()
    for file in files:
        module = _import(modules, file, loaded)
        if module is not None:
            _collect(module, file, loaded)
    return loaded


def load_function(target: Any, settings: dict[str, Any]) -> LoadedHandler:
    """Make a handler of a function or `Handler` class that was registered from code; `settings` count over its own.

    Raises ConfigurationError if it can't be one, and TypeError if its `input` is no schema.
    """
    found = given(target)
    found.settings = {**found.settings, **settings}
    where = str(getattr(target, "__module__", "code"))
    file = str(getattr(sys.modules.get(where), "__file__", None) or where)
    return _loaded_handler(found, getattr(target, "__name__", "handler"), file)


def forget_bundle(root: str) -> None:
    """Drop the modules of a bundle, so that loading it again reads its files anew. Runs in progress keep theirs."""
    BundleModules(root).forget()


def _import(modules: BundleModules, file: str, loaded: Loaded) -> ModuleType | None:
    try:
        return modules.load(file)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a script that calls sys.exit() is a problem, not an end
        loaded.problem(file, line_in(error, file), one_line(error))
        return None


def _collect(module: ModuleType, file: str, loaded: Loaded) -> None:
    stem = file.rpartition("/")[2].rpartition(".")[0]
    for found in handlers_in(module):
        try:
            _add(_loaded_handler(found, stem, file), loaded)
        except Exception as error:  # noqa: BLE001 - the constructor of a Handler class is the author's code
            loaded.problem(file, found.line, one_line(error))
    for name, hooks in (("setup", loaded.setups), ("teardown", loaded.teardowns)):
        hook = hook_in(module, name)
        if hook is None:
            continue
        try:
            hooks.append(_keeping_kind(hook, 1))
        except TypeError as error:
            loaded.problem(file, None, f"TypeError: {error}")


def _add(handler: LoadedHandler, loaded: Loaded) -> None:
    first = loaded.handlers.get(handler.name)
    if first is not None:
        there = f"{first.file}:{first.line}" if first.line else first.file
        raise ConfigurationError(f"handler {handler.name!r} is defined twice: here and in {there}")
    loaded.handlers[handler.name] = handler


def _loaded_handler(found: Found, stem: str, file: str) -> LoadedHandler:
    settings = dict(found.settings)
    name = settings.pop("name", None)
    name = stem if name is None else name
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"the name of a handler is a str that is not empty, not {name!r}")
    for key in settings:
        if key not in SETTINGS:
            raise ConfigurationError(unknown_setting(key))
    contract = contract_of(settings)
    middleware = settings.pop("middleware", None)
    target = _callable_of(found.target)
    kind = "async" if is_async(target) else "sync"
    call = adapted(target)
    if middleware is not None:
        from .middleware import wrapped

        call = wrapped(call, middleware, kind)
    handler = LoadedHandler(name, file, found.line, kind, settings, call, contract)
    encode(handler.settings, f"settings of {name!r}")
    return handler


def _callable_of(target: Any) -> Callable[..., Any]:
    if not isinstance(target, type):
        return target  # type: ignore[no-any-return]
    if not issubclass(target, Handler):
        raise ConfigurationError(f"{target.__name__} is decorated as a handler and is no subclass of Handler")
    return target().run


def _keeping_kind(hook: Callable[..., Any], most: int) -> Callable[..., Any]:
    """`adapted`, such that `is_async` still tells what was adapted."""
    call = adapted(hook, most)
    if call is not hook:
        call.__wrapped__ = hook  # type: ignore[attr-defined]
    return call
