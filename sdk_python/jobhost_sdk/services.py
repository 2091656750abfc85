"""What `setup(ctx)` made for the handlers of a child: `ctx.services`."""

from __future__ import annotations

from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Services:
    """Attributes by name. Reading one that was never set raises ConfigurationError, which names what there is."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # copy, pickle and debuggers ask for these
        known = ", ".join(self) or "none was set up"
        raise ConfigurationError(
            f"no service {name!r}: set it in setup(ctx) as ctx.services.{name} (there are: {known})"
        )

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.__dict__))

    def get(self, name: str, default: Any = None) -> Any:
        """Give a service, or `default` where there is none."""
        return self.__dict__.get(name, default)
