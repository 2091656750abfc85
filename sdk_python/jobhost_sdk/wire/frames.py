"""Frames: a 4-byte big-endian length, then that many bytes.

The length is checked before a byte of the body is kept, so that a hostile peer cannot make the receiver reserve
memory it did not send.
"""

from __future__ import annotations

import struct

from ..errors import ProtocolError

MAX_FRAME = 16 * 1024 * 1024
"""Bytes in the body of a frame, at most. Both sides refuse more."""

_LENGTH = struct.Struct(">I")
_pack_length = _LENGTH.pack
_unpack_length = _LENGTH.unpack_from


def frame(body: bytes, max_frame: int = MAX_FRAME) -> bytes:
    """Put the length in front of `body`; raises ProtocolError if it is empty or over `max_frame` bytes."""
    if not 0 < len(body) <= max_frame:
        raise ProtocolError(f"frame of {len(body)} bytes; allowed are 1 to {max_frame}")
    return _pack_length(len(body)) + body


class FrameDecoder:
    """Cuts whatever chunks arrive into frames. Any chunking of the same bytes gives the same frames.

    `partial` is true while a frame has begun and is not complete; the caller's clock decides how long that may last.
    """

    __slots__ = ("_buffer", "max_frame")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self.max_frame = max_frame

    @property
    def partial(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take the next bytes of the stream and give the bodies of the frames they complete, in order.

        Raises ProtocolError at a length of 0 or over the limit, as soon as its 4 bytes are there; frames completed
        before it in the same chunk are lost with the peer.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            with memoryview(buffer) as view:
                bodies, used = self._cut(view)
            if used:
                del buffer[:used]
            return bodies
        # The usual chunk holds whole frames only and is cut where it lies.
        bodies, used = self._cut(data)
        if used < len(data):
            buffer += data[used:]
        return bodies

    def _cut(self, data: bytes | bytearray | memoryview) -> tuple[list[bytes], int]:
        """Give the frames that are complete in `data` and how many bytes they took."""
        bodies: list[bytes] = []
        size = len(data)
        start = 0
        while size - start >= 4:
            (length,) = _unpack_length(data, start)
            if not 0 < length <= self.max_frame:
                raise ProtocolError(f"frame of {length} bytes announced; allowed are 1 to {self.max_frame}")
            end = start + 4 + length
            if end > size:
                break
            bodies.append(bytes(data[start + 4 : end]))
            start = end
        return bodies, start
