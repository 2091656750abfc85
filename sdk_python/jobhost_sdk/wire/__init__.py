"""The wire as a pure core: bytes in, messages out, and nothing that reads, writes, waits or tells the time.

`frames` cuts a byte stream into frames, `messages` gives them their meaning and refuses what the protocol does not
allow, `peer` keeps the ids. Host and child use the same three; the reference is runtimes/PROTOCOL.md.
"""

from .frames import MAX_FRAME, FrameDecoder, frame
from .messages import Json, decode_message, encode_error, encode_notification, encode_request, encode_result
from .peer import Notification, Peer, Request, Response

__all__ = [
    "MAX_FRAME",
    "FrameDecoder",
    "Json",
    "Notification",
    "Peer",
    "Request",
    "Response",
    "decode_message",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_result",
    "frame",
]
