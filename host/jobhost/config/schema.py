"""Tables of the configuration: frozen dataclasses whose keys carry a check.

    @table
    class Pool(Table):
        children: int | None = key(count, default=None)
        idle_timeout: int = key(span, default=60_000)

The constructor takes settled values. `model_validate` takes what people write, and finds every mistake in one pass, each with its
path. It does what pydantic would do here, without the 13 MiB and the 0.1 to 0.3 s that pydantic and its models cost each start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast, dataclass_transform

from .problems import InvalidConfigurationError, KeyPath, Problem, nearest
from .units import shown

Check = Callable[[Any], Any]
"""From what is written to its settled value; raises ValueError with what is wrong."""

WRONG: Any = object()
"""Stands for a value that was wrong: it is left out, and its table goes on without it."""


class Nested(Protocol):
    """A check of what holds more values: it appends the problems it finds, each at its path."""

    def settle(self, written: Any, at: KeyPath, problems: list[Problem]) -> Any:
        """Give the settled value, or WRONG."""


def key(check: Check | Nested, *, default: Any = MISSING, factory: Any = MISSING) -> Any:
    """A key of a table; one without a default must be written. `factory` makes a default that nobody shares."""
    if factory is not MISSING:
        return field(default_factory=factory, metadata={"check": check})
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the file. Unknown keys are mistakes; a value of None is as if it were not written."""

    keys: ClassVar[Mapping[str, Field[Any]]] = {}

    @classmethod
    def between(cls, written: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong between the keys of a table, as it is written."""
        yield from ()

    @classmethod
    def settle(cls, written: Any, at: KeyPath, problems: list[Problem]) -> Self:
        """Settle a table, leaving out what is wrong; WRONG if nothing is left of it."""
        if not isinstance(written, Mapping):
            problems.append(Problem(at, f"should be a table, not {shown(written)}"))
            return cast("Self", WRONG)
        values: dict[str, Any] = {}
        for name, value in written.items():
            if name not in cls.keys:
                problems.append(Problem((*at, name), f"unknown key ({nearest(name, list(cls.keys))})"))
            elif value is not None:
                values[name] = _settled(cls.keys[name].metadata["check"], value, (*at, name), problems)
        problems += [Problem(at, text) for text in cls.between(written)]
        return cls._made({name: value for name, value in values.items() if value is not WRONG}, written, at, problems)

    @classmethod
    def _made(cls, values: dict[str, Any], written: Mapping[str, Any], at: KeyPath, problems: list[Problem]) -> Self:
        needed = [name for name, of in cls.keys.items() if of.default is MISSING and of.default_factory is MISSING]
        problems += [Problem((*at, name), "is missing") for name in needed if written.get(name) is None]
        return cls(**values) if all(name in values for name in needed) else cast("Self", WRONG)

    @classmethod
    def model_validate(cls, written: object) -> Self:
        """Settle a table that is right. Raises InvalidConfigurationError with everything that is wrong."""
        problems: list[Problem] = []
        settled = cls.settle(written, (), problems)
        if problems:
            raise InvalidConfigurationError(problems)
        return settled

    def model_dump(self) -> dict[str, Any]:
        """The settled values as plain ones."""
        return asdict(self)


Class = TypeVar("Class", bound=type[Table])


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(key, field))
def table(cls: Class) -> Class:
    """Make a class of keys a table."""
    dataclass(frozen=True, kw_only=True)(cls)
    cls.keys = {of.name: of for of in fields(cls) if "check" in of.metadata}
    return cls


def _settled(check: Check | Nested, written: Any, at: KeyPath, problems: list[Problem]) -> Any:
    nested = getattr(check, "settle", None)
    if nested is not None:
        return nested(written, at, problems)
    try:
        return check(written)  # type: ignore[operator]  # what settles nothing inside is a function
    except ValueError as error:
        problems.append(Problem(at, str(error)))
        return WRONG


@dataclass(frozen=True)
class TableOf:
    """A table, or what `before` makes one of."""

    cls: type[Table]
    before: Callable[[Any], Any]

    def settle(self, written: Any, at: KeyPath, problems: list[Problem]) -> Any:
        return self.cls.settle(self.before(written), at, problems)


@dataclass(frozen=True)
class ListOf:
    """A list with the same check for each member."""

    check: Check | Nested

    def settle(self, written: Any, at: KeyPath, problems: list[Problem]) -> Any:
        if not isinstance(written, list):
            problems.append(Problem(at, f"should be a list, not {shown(written)}"))
            return WRONG
        settled = [_settled(self.check, value, (*at, index), problems) for index, value in enumerate(written)]
        return [value for value in settled if value is not WRONG]


@dataclass(frozen=True)
class NamedTables:
    """Tables by a name of the user's own: `[queues.NAME]`."""

    cls: type[Table] | TableOf

    def settle(self, written: Any, at: KeyPath, problems: list[Problem]) -> Any:
        if not isinstance(written, Mapping):
            problems.append(Problem(at, f"should be a table of tables, not {shown(written)}"))
            return WRONG
        settled = {name: self.cls.settle(value, (*at, name), problems) for name, value in written.items()}
        return {name: value for name, value in settled.items() if value is not WRONG}
