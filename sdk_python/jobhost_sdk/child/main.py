"""A child from its first frame on: `initialize`, the bundle, its setup, then the loop that fits it."""

from __future__ import annotations

import gc
import os
import sys

from .. import __version__, output
from ..discovery import Loaded, load_bundle
from ..errors import ConfigurationError
from ..failure import error_map
from ..json_values import decode, encode
from ..services import Services
from . import signals
from .blocking import Blocking
from .channel import VIOLATION, Channel, Waiter
from .options import Options
from .watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..wire import Request
    from .session import Session

PROTOCOL = 1


class First(Waiter):
    """Waits for the first frame."""

    def __init__(self) -> None:
        super().__init__()
        self.request: Request | None = None

    def take(self, request: Request) -> None:
        self.request = request
        self.done = True


def main(fd_in: int, fd_out: int, keep: Callable[[str], None]) -> None:
    """Serve one host. `keep` hides a lent package from the bundle."""

    def load(root: str, files: list[str]) -> Loaded:
        enter_environment(keep)
        loaded = load_bundle(root, files)
        gc.freeze()  # what was loaded stays; the collector need not look at it again
        return loaded

    channel = Channel(fd_in, fd_out)
    watcher = Watcher(channel)
    watcher.start()
    signals.ignore_interrupt()
    signals.tell_stacks()
    serve(channel, load, watcher)


def forked(fd: int, keep: Callable[[str], None], root: str, files: list[str]) -> None:
    """Be a template, and serve as each of its children."""
    from . import template

    def load() -> Loaded:
        enter_environment(keep)
        return load_bundle(root, files)

    signals.ignore_interrupt()
    signals.tell_stacks()
    wire, loaded = template.serve(fd, load)
    # No watcher: the kernel ends a fork with its host, and a thread would cost each a tenth of its start.
    serve(Channel(wire, wire), load_bundle if loaded is None else lambda _root, _files: loaded)
    template.leave()


def serve(channel: Channel, load: Callable[[str, list[str]], Loaded], watcher: Watcher | None = None) -> None:
    """A child's life from its first frame on."""
    signals.guard_forks(channel)
    session = initialized(channel, first_request(channel), load)
    signals.listen(session)
    output.install(session.owner, session.options.max_log_line)
    if watcher is not None:
        session.linger = watcher.linger
    session.run()


def first_request(channel: Channel) -> Request:
    """Wait for `initialize`; anything else ends the child."""
    first = First()
    channel.on_request = first.take
    channel.read_until(first)
    request = first.request
    assert request is not None
    if request.method != "initialize":
        channel.die(VIOLATION, f"the first frame is {request.method!r}, not 'initialize'")
    return request


def enter_environment(keep: Callable[[str], None]) -> None:
    """Bring in the packages of the bundle's own environment, and print as text until there is someone to log to."""
    import site

    keep("msgpack")
    site.main()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def initialized(channel: Channel, request: Request, load: Callable[[str, list[str]], Loaded]) -> Session:
    """Load the bundle, set it up, and answer; gives the session that serves it."""
    try:
        options = Options(request.params.get("options"))
        bundle = request.params["bundle"]
        root, files = bundle["root"], decode(bundle["files"])
    except (KeyError, TypeError, ValueError) as error:
        raise SystemExit(_refused(channel, request, error)) from None
    sys.path.extend(options.sdk_paths)
    loaded = load(root, files)
    loaded.overrule(options.schemas)
    session = make_session(channel, loaded, options)
    try:
        session.set_up()
        answer = described(loaded)
    except BaseException as error:  # noqa: BLE001 - the author's code; the host is told and decides
        channel.put(channel.peer.error(request.id, error_map(error)))
    else:
        channel.put(channel.peer.result(request.id, answer))
    session.ready()
    return session


def _refused(channel: Channel, request: Request, error: BaseException) -> int:
    wrong = ConfigurationError(f"initialize: {type(error).__name__} {error}")
    channel.put(channel.peer.error(request.id, error_map(wrong)))
    channel.flush()
    return VIOLATION


def make_session(channel: Channel, loaded: Loaded, options: Options) -> Session:
    """The blocking loop unless something in the bundle has to be awaited."""
    channel.peer.set_max_frame(options.max_frame)
    if loaded.needs_loop:
        from .looping import Looping

        return Looping(channel, loaded, options, Services())
    return Blocking(channel, loaded, options, Services())


def described(loaded: Loaded) -> dict[str, Any]:
    """The result of `initialize`."""
    return {
        "protocol": PROTOCOL,
        "sdk": f"jobhost-sdk-python {__version__}",
        "language": "python {}.{}.{}".format(*sys.version_info[:3]),
        "pid": os.getpid(),
        "handlers": encode([handler.described() for handler in loaded.handlers.values()], "handlers"),
        "problems": encode(loaded.problems, "problems"),
    }
