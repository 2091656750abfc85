"""What a run under test did."""

from __future__ import annotations

from ..json_values import decode
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Record:
    """Compared and shown by its attributes, as a dataclass is, which would cost a child 10 ms to import."""

    __slots__: tuple[str, ...] = ()

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # fields are dicts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"


class Log(_Record):
    """A log line. `fields`: a dict, empty if none were given."""

    __slots__ = ("fields", "level", "message")

    def __init__(self, level: str, message: str, fields: dict[str, Any] | None = None) -> None:
        self.level = level
        self.message = message
        self.fields = fields or {}


class Emit(_Record):
    """An emit. `starts`: it starts a flow, whose name `trigger` is."""

    __slots__ = ("immediate", "key", "payload", "starts", "trigger")

    def __init__(
        self, trigger: str, payload: Any = None, key: str | None = None, immediate: bool = False, starts: bool = False
    ) -> None:
        self.trigger = trigger
        self.payload = payload
        self.key = key
        self.immediate = immediate
        self.starts = starts


class Ran:
    """A run and what it came to. `error`: what it raised, or None. `progress`, `logs`: in their order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        """The state after it, for a run that goes on from there: `run(…, state=ran.store, attempt=2)`."""
        self.error: BaseException | None = None
        self.progress: list[Any] = []
        self.logs: list[Log] = []
        self.emitted: list[Emit] = []
        """Every emit, whatever became of the run."""
        self.cancelled: str | None = None
        """Why it was told to stop, or None."""
        self._returned: bytes | None = None

    @property
    def result(self) -> Any:
        """What the handler returned, as it is after the way through JSON. Raises what the handler raised."""
        if self.error is not None:
            raise self.error
        return None if self._returned is None else decode(self._returned)

    @property
    def emits(self) -> list[Emit]:
        """What would be delivered: of a run that failed the immediate ones alone."""
        return [emit for emit in self.emitted if self.error is None or emit.immediate]

    @property
    def state(self) -> dict[str, Any]:
        """What the scope holds that `ctx.state` itself is."""
        return self.store.values()

    def __repr__(self) -> str:
        came_to = repr(self.error) if self.error is not None else repr(self.result)
        return f"<Ran {came_to}, {len(self.logs)} log lines, {len(self.emits)} emits>"
