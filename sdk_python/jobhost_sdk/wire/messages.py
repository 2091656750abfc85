"""Messages: one MessagePack array in each frame, checked so strictly that nothing a peer sends can surprise the receiver.

MessagePack-RPC's arrays: `[0, id, method, params]`, `[1, id, error, result]`, `[2, method, params]`. The user's values
are JSON text in a `bin`, so the envelope is small and flat, and small limits disarm the decoding bombs (nested
headers, arrays that announce 2^32 elements) in every release of msgpack that is allowed.
"""

from __future__ import annotations

import msgpack

from ..errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

Json = bytes
"""JSON text in UTF-8, carried unread. What it holds is between the handler and the queue."""

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2
MAX_ID = 2**53 - 1
MAX_ITEMS = 64
"""Elements of one array or map in the envelope. Long lists travel as JSON."""
MAX_DEPTH = 16

if hasattr(msgpack.Packer(), "_buffer"):

    def _pack(message: Any) -> bytes:
        """The pure-Python packer keeps its buffer between two byte codes: a thread or a signal could share it."""
        return msgpack.packb(message, use_bin_type=True)  # type: ignore[no-any-return]

else:
    _pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def _refuse_extension(code: int, _data: bytes) -> NoReturn:
    raise ProtocolError(f"extension type {code} in a message")


def _unpack(body: bytes) -> Any:
    return msgpack.unpackb(
        body,
        raw=False,
        use_list=True,
        strict_map_key=True,
        timestamp=0,
        ext_hook=_refuse_extension,
        max_ext_len=0,
        max_array_len=MAX_ITEMS,
        max_map_len=MAX_ITEMS,
    )


def decode_message(body: bytes) -> list[Any]:
    """Decode and check one message; raises ProtocolError, and nothing else, at whatever is not one.

    Returns the array as a list: `[0, id, method, params]`, `[1, id, error, result]` or `[2, method, params]`.
    """
    try:
        message = _unpack(body)
    except ProtocolError:
        raise
    except (RecursionError, MemoryError):
        # No `from`: the trace of a recursion as deep as the stack would be megabytes of text.
        raise ProtocolError("a message nests too deep to decode") from None
    except Exception as error:  # ValueError as a rule; what else depends on the release and on which half decodes
        raise ProtocolError(f"not one MessagePack value: {_one_line(error)}") from error
    if type(message) is not list or not message:
        raise ProtocolError("a message is not an array")
    kind = message[0]
    if type(kind) is not int:
        raise ProtocolError("the type of a message is not an integer")
    if kind == REQUEST and len(message) == 4:
        _check_id(message[1])
        _check_call(message[2], message[3])
    elif kind == RESPONSE and len(message) == 4:
        _check_id(message[1])
        if message[2] is not None:
            _check_error(message[2])
            if message[3] is not None:
                raise ProtocolError("a response has both an error and a result")
        elif type(message[3]) is dict or type(message[3]) is list:
            _check_keys(message[3])
    elif kind == NOTIFICATION and len(message) == 3:
        _check_call(message[1], message[2])
    else:
        raise ProtocolError(f"no message has type {kind} and {len(message)} elements")
    return message


def _check_id(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise ProtocolError("the id of a message is not an integer from 0 to 2^53-1")


def _check_call(method: Any, params: Any) -> None:
    if type(method) is not str:
        raise ProtocolError("the method of a message is not a string")
    if type(params) is not dict:
        raise ProtocolError("the params of a message are not a map")
    _check_keys(params)


def _check_keys(value: Any, depth: int = 2) -> None:
    """Keys are strings at every level: `strict_map_key` lets bytes through."""
    if depth > MAX_DEPTH:
        raise ProtocolError(f"a message nests over {MAX_DEPTH} deep")
    if type(value) is dict:
        try:
            "".join(value)  # the quickest way to see that all are strings
        except TypeError:
            raise ProtocolError("a map in a message has a key that is not a string") from None
        value = value.values()
    for item in value:
        kind = type(item)
        if kind is dict or kind is list:
            _check_keys(item, depth + 1)


def _check_error(error: Any) -> None:
    if type(error) is not dict or type(error.get("type")) is not str:
        raise ProtocolError("the error of a response is not a map with a type")
    _check_keys(error)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip().replace("\n", " ")[:200]


def encode_request(id: int, method: str, params: dict[str, Any]) -> bytes:
    """One request as a message body, not yet framed."""
    return _pack([REQUEST, id, method, params])


def encode_result(id: int, result: Any) -> bytes:
    """One successful response as a message body, not yet framed."""
    return _pack([RESPONSE, id, None, result])


def encode_error(id: int, error: dict[str, Any]) -> bytes:
    """One failed response as a message body, not yet framed. `error` has at least `type`."""
    return _pack([RESPONSE, id, error, None])


def encode_notification(method: str, params: dict[str, Any]) -> bytes:
    """One notification as a message body, not yet framed."""
    return _pack([NOTIFICATION, method, params])
