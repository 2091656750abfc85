"""A thread that waits beside the handlers: it ends the process when the host hangs up, and sends what lingers.

A handler stuck in pure Python, or in C code that releases the GIL, cannot hold it up; C code that keeps the GIL can.
"""

from __future__ import annotations

import os
import select
from _thread import stack_size, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .channel import Channel

STACK = 256 * 1024

LOOK_AGAIN = 1000
"""Milliseconds. A poll under way keeps the socket open even if a handler closes every descriptor it finds; between two
polls it closes, and the host learns of it."""

TICK = 10
"""Milliseconds a result may linger behind a slow handler, where quick ones were expected to fill the batch."""

QUIET_TICKS = 10
"""Ticks with nothing to send after which the thread sleeps again."""


class Watcher:
    """See the module. `linger` may be called from the main thread at any time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ticking = False
        self._alarm, self._bell = os.pipe()
        os.set_blocking(self._alarm, False)
        os.set_blocking(self._bell, False)

    def start(self) -> None:
        before = stack_size(STACK)
        start_new_thread(self._watch, ())
        stack_size(before)

    def linger(self) -> None:
        """Something was left unsent, to go with what follows: send it if nothing follows soon."""
        if not self._ticking:
            self._ticking = True
            try:
                os.write(self._bell, b"!")
            except OSError:
                self._channel.flush(wait=False)  # a handler closed descriptors that were not its own

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        poller.register(self._channel.fd_in, getattr(select, "POLLRDHUP", 0))  # POLLHUP and POLLERR always come
        quiet = 0
        while True:
            for fd, events in poller.poll(TICK if self._ticking else LOOK_AGAIN):
                if fd != self._alarm or events & select.POLLNVAL:
                    self._channel.hang_up()
                os.read(self._alarm, 64)
            quiet = 0 if self._send_lingering() else quiet + 1
            if self._ticking and quiet > QUIET_TICKS:
                self._ticking = False
                self._ticking = self._channel.unsent > 0  # it may have been left between the two looks

    def _send_lingering(self) -> bool:
        if not self._channel.unsent:
            return False
        self._channel.flush(wait=False)
        return True
