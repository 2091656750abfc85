"""One side of a conversation: which ids are open, which messages are allowed now, when an answer is overdue.

Pure: it takes bytes and gives events, it makes bytes from calls. The caller owns the pipe and the clock.
"""

from __future__ import annotations

from ..errors import ProtocolError
from .frames import MAX_FRAME, FrameDecoder, frame
from .messages import (
    REQUEST,
    RESPONSE,
    decode_message,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar, Union

    Cookie = TypeVar("Cookie")
    Event = Union["Request", "Response", "Notification"]
else:
    # `typing` costs a child 10 ms of its start and does nothing at run time.
    Cookie = None

    class Generic:
        """Takes any parameter, as `typing.Generic` does."""

        def __class_getitem__(cls, _):
            return cls


MAX_OPEN = 1024
"""Requests of the other side that may be unanswered at once. A handler that wants more has a loop that runs away."""


class Request:
    """The other side asks; answer with `Peer.result` or `Peer.error` and this id."""

    __match_args__ = __slots__ = ("id", "method", "params")

    def __init__(self, id: int, method: str, params: dict[str, Any]) -> None:
        self.id = id
        self.method = method
        self.params = params


class Response:
    """The other side answered a request of ours; `cookie` is what we gave with it."""

    __match_args__ = __slots__ = ("cookie", "error", "result")

    def __init__(self, cookie: Any, error: dict[str, Any] | None, result: Any) -> None:
        self.cookie = cookie
        self.error = error
        self.result = result


class Notification:
    """The other side says something that has no answer."""

    __match_args__ = __slots__ = ("method", "params")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method = method
        self.params = params


class Peer(Generic[Cookie]):
    """Ids, limits and deadlines of one connection. Every method either returns or raises ProtocolError."""

    __slots__ = ("_decoder", "_max_frame", "_next_id", "_open", "_pending")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._decoder = FrameDecoder(max_frame)
        self._max_frame = max_frame
        self._next_id = 0
        self._pending: dict[int, tuple[Cookie, float | None]] = {}
        self._open: set[int] = set()

    @property
    def partial(self) -> bool:
        """A frame has begun and is not complete."""
        return self._decoder.partial

    def set_max_frame(self, max_frame: int) -> None:
        """Use another limit from the next frame on; the hosts tells its own in `initialize`."""
        self._max_frame = max_frame
        self._decoder.max_frame = max_frame

    @property
    def pending(self) -> int:
        """How many of our requests wait for an answer."""
        return len(self._pending)

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take bytes as they came and give what they complete, in order."""
        events: list[Event] = []
        for body in self._decoder.feed(data):
            message = decode_message(body)
            kind = message[0]
            if kind == RESPONSE:
                try:
                    cookie, _ = self._pending.pop(message[1])
                except KeyError:
                    raise ProtocolError(f"an answer to request {message[1]}, which is not open") from None
                events.append(Response(cookie, message[2], message[3]))
            elif kind == REQUEST:
                id = message[1]
                if id in self._open:
                    raise ProtocolError(f"request {id} came twice")
                if len(self._open) >= MAX_OPEN:
                    raise ProtocolError(f"more than {MAX_OPEN} requests are open")
                self._open.add(id)
                events.append(Request(id, message[2], message[3]))
            else:
                events.append(Notification(message[1], message[2]))
        return events

    def request(self, method: str, params: dict[str, Any], cookie: Cookie, deadline: float | None = None) -> bytes:
        """Give the frame of a request. `deadline` is on the caller's clock; see `expired`."""
        id = self._next_id
        data = frame(encode_request(id, method, params), self._max_frame)
        self._next_id = id + 1
        self._pending[id] = (cookie, deadline)
        return data

    def notify(self, method: str, params: dict[str, Any]) -> bytes:
        """Give the frame of a notification."""
        return frame(encode_notification(method, params), self._max_frame)

    def result(self, id: int, result: Any) -> bytes:
        """Give the frame that answers request `id`. If the result is too large the request stays open."""
        data = frame(encode_result(id, result), self._max_frame)
        try:
            self._open.remove(id)
        except KeyError:
            raise ProtocolError(f"request {id} is not open: it was answered already") from None
        return data

    def error(self, id: int, error: dict[str, Any]) -> bytes:
        """Give the frame that refuses request `id`."""
        data = frame(encode_error(id, error), self._max_frame)
        try:
            self._open.remove(id)
        except KeyError:
            raise ProtocolError(f"request {id} is not open: it was answered already") from None
        return data

    def expired(self, now: float) -> list[Cookie]:
        """Give the cookies of our requests whose deadline has passed; they stay pending, since the answer may still come."""
        return [cookie for cookie, deadline in self._pending.values() if deadline is not None and deadline <= now]

    def abandoned(self) -> list[Cookie]:
        """Give the cookies of all our unanswered requests and forget them: the other side is gone."""
        cookies = [cookie for cookie, _ in self._pending.values()]
        self._pending.clear()
        return cookies
