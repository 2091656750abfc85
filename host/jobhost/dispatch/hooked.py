"""How a host is given its hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..hooks import Hook, configured_hooks, function_hook, hook_of
from .hooks import Hooks

if TYPE_CHECKING:
    from ..config.document import Config
    from .host import Host

Function = TypeVar("Function", bound=Callable[..., Any])


class Hooked:
    """The part of a Host that has to do with hooks; what they are told, and when: `jobhost.hooks`, and `hooks.py` beside this file."""

    hooks: Hooks | None = None
    """None where there are none: then they cost nothing."""

    def hook(self, hook: Any) -> Any:
        """Tell an object, or an object that is made of a class, what becomes of jobs; gives it back, so that it can decorate.

        Raises ConfigurationError if it has none of the methods `before`, `on_started`, `after`, `on_completed`, `on_failed`,
        `on_retried`, or a misspelt one.
        """
        self._add_hook(hook_of(hook))
        return hook

    def on_started(self, function: Function) -> Function:
        """Call `function` with a JobEvent when a run begins; gives it back, so that it can decorate. It may be asynchronous."""
        self._add_hook(function_hook("started", function))
        return function

    def on_completed(self, function: Function) -> Function:
        """As `on_started`, once a job's result is stored."""
        self._add_hook(function_hook("completed", function))
        return function

    def on_failed(self, function: Function) -> Function:
        """As `on_started`, once a job has failed for good."""
        self._add_hook(function_hook("failed", function))
        return function

    def on_retried(self, function: Function) -> Function:
        """As `on_started`, once an attempt has failed after which the job comes back."""
        self._add_hook(function_hook("retried", function))
        return function

    def _add_hook(self, hook: Hook) -> None:
        host = cast("Host", self)
        if self.hooks is None:
            self.hooks = Hooks(host)
            if host.workers:
                self.hooks.open()
        self.hooks.add(hook)

    async def start_hooks(self, config: Config) -> None:
        """Make those of the file, and those from code, if there are any. Raises ConfigurationError."""
        configured = configured_hooks(config)
        if configured and self.hooks is None:
            self.hooks = Hooks(cast("Host", self))
        if self.hooks is not None:
            await self.hooks.start(configured)
