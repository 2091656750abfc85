"""Who in this process waits for work or for events, and how they hear of it.

All of it happens on the event loop's thread. A subscriber that does not keep up loses the oldest events: a slow reader of
a dashboard must not hold up a queue or fill its memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Container, Iterable, Sequence

from .job import Event

BACKLOG = 10_000
"""Events one subscriber may be behind."""

Wake = Callable[[str], None]


class Everything(Container[str]):
    """The set of all event types."""

    def __contains__(self, type: object) -> bool:
        return True


class Subscription:
    """One reader of events."""

    __slots__ = ("_arrived", "_events", "closed", "queue", "types")

    def __init__(self, queue: str | None, types: Collection[str]) -> None:
        self.queue = queue
        self.types = frozenset(types)
        self.closed = False
        self._events: deque[Event] = deque(maxlen=BACKLOG)
        self._arrived = asyncio.Event()

    def offer(self, event: Event) -> None:
        """Take an event if it is one of those asked for."""
        if (self.queue is None or event.queue == self.queue) and (not self.types or event.type in self.types):
            self._events.append(event)
            self._arrived.set()

    def close(self) -> None:
        """End the iteration once what came before is read."""
        self.closed = True
        self._arrived.set()

    async def next(self) -> Event | None:
        """Wait for the next event; None once closed."""
        while not self._events:
            if self.closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()


class Feed:
    """The subscribers and watchers of one backend handle."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._watchers: dict[str, list[Wake]] = {}
        self.wanted: Container[str] = frozenset()
        """The event types somebody waits for. Asked for each job, before an event is made that nobody reads."""

    @property
    def watched(self) -> list[str]:
        """The queues somebody watches."""
        return list(self._watchers)

    def watch(self, queues: Sequence[str], wake: Wake) -> Callable[[], None]:
        """Call `wake` for these queues until the function this gives is called."""
        for queue in queues:
            self._watchers.setdefault(queue, []).append(wake)
        left = list(queues)

        def unwatch() -> None:
            while left:
                queue = left.pop()
                self._watchers[queue].remove(wake)
                if not self._watchers[queue]:
                    del self._watchers[queue]

        return unwatch

    def wake(self, queues: Iterable[str]) -> None:
        """Tell the watchers of these queues."""
        for queue in queues:
            for wake in tuple(self._watchers.get(queue, ())):
                wake(queue)

    def publish(self, events: Iterable[Event]) -> None:
        """Hand events to those who asked for them."""
        for event in events:
            for subscription in self._subscriptions:
                subscription.offer(event)

    async def read(self, queue: str | None, types: Collection[str]) -> AsyncGenerator[Event, None]:
        """Subscribe at the first step, and give events until `close`."""
        subscription = Subscription(queue, types)
        self._subscriptions.append(subscription)
        self._tally()
        try:
            while (event := await subscription.next()) is not None:
                yield event
        finally:
            self._subscriptions.remove(subscription)
            self._tally()

    def _tally(self) -> None:
        if all(subscription.types for subscription in self._subscriptions):
            self.wanted = frozenset[str]().union(*(subscription.types for subscription in self._subscriptions))
        else:
            self.wanted = Everything()

    def close(self) -> None:
        """End all subscriptions and watches."""
        self._watchers.clear()
        for subscription in self._subscriptions:
            subscription.close()
