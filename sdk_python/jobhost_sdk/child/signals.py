"""What reaches a child beside its wire: signals, and forks of itself."""

from __future__ import annotations

import os
from _signal import SIGINT, SIGURG, SIGUSR2, siginterrupt, signal  # type: ignore[import-not-found]  # `signal` brings `enum`

from .. import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .channel import Channel
    from .session import Session


def ignore_interrupt() -> None:
    """Ctrl-C on a terminal reaches the whole process group; stopping is the host's to say.

    A handler that does nothing, not SIG_IGN, which programs started from here would inherit.
    """
    signal(SIGINT, _nothing)
    siginterrupt(SIGINT, False)


def _nothing(_signum: int, _frame: object) -> None:
    pass


def listen(session: Session) -> None:
    """Read the wire when the host sends SIGURG, so that a `cancel` reaches a handler that is busy."""

    def read(_signum: int, _frame: object) -> None:
        session.on_urgent()

    signal(SIGURG, read)
    siginterrupt(SIGURG, False)


def tell_stacks() -> None:
    """Write the stacks of all threads to stderr when the host sends SIGUSR2, whatever they are doing, C code included."""
    import faulthandler

    faulthandler.register(SIGUSR2, file=2, all_threads=True, chain=False)


def guard_forks(channel: Channel) -> None:
    """A process forked by a handler must not write to the wire, nor keep it open when this one dies."""

    def forked() -> None:
        channel.abandon()
        output.uninstall()

    os.register_at_fork(after_in_child=forked)
