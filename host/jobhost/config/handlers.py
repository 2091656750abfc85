"""Settings of a handler: `[handlers."NAME"]`, and the same for what a handler's own code declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from .problems import Problem, problems_of
from .retry import BackoffOption
from .units import Count, Section, Text, Timeout

if TYPE_CHECKING:
    from .document import Config


class FlowOption(Section):
    """How a handler takes part in flows (design section 6)."""

    name: Text | None = None
    step: Text | None = None
    subscribes: list[Text] = Field(default_factory=list)
    emits: list[Text] = Field(default_factory=list)
    join: Literal["each", "all"] = "each"


class HandlerOptions(Section):
    """One layer of a handler's settings; None is unset. `timeout` in milliseconds, 0 for none."""

    name: Text | None = None
    queue: Text | None = None
    timeout: Timeout | None = None
    concurrency: Count | None = None
    attempts: Count | None = None
    backoff: BackoffOption | None = None
    description: str | None = None
    version: str | None = None
    author: str | None = None
    input: dict[str, Any] | bool | None = None
    """A JSON Schema."""
    flow: FlowOption | None = None
    enabled: bool | None = None
    retry: bool | None = None
    """Whether the handler's code brings its own strategy for the time between attempts."""
    requires: list[Text] | None = None
    key: str | list[str] | None = None


def declared_options(settings: dict[str, Any]) -> tuple[HandlerOptions, list[str]]:
    """Check what a handler's code declares. Gives the options that are right, and a text for each that is not.

    A wrong option is left out, the others hold: it is the caller who decides whether the handler is served.
    """
    problems = problems_of(HandlerOptions, settings)
    wrong = {problem.path[0] for problem in problems if problem.path}
    options = HandlerOptions.model_validate({key: value for key, value in settings.items() if key not in wrong})
    return options, [_text(problem) for problem in problems]


def _text(problem: Problem) -> str:
    return f"{problem.key}: {problem.text}" if problem.path else problem.text


def handler_options(name: str, code: HandlerOptions | None, config: Config) -> HandlerOptions:
    """A handler's settings with `[handlers."NAME"]` put over what its code says."""
    below = code or HandlerOptions()
    above = config.handlers.get(name)
    if above is None:
        return below
    given = {key: value for key in HandlerOptions.model_fields if (value := getattr(above, key)) is not None}
    if above.backoff is not None and below.backoff is not None:
        own = above.backoff.model_dump(exclude_none=True)
        given["backoff"] = below.backoff.model_copy(update=own)
    return below.model_copy(update=given)
