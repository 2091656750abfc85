"""The wire core: bytes to messages and back, whatever the chunking; garbage to ProtocolError and nothing else."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobhost_sdk.errors import ProtocolError
from jobhost_sdk.wire import (
    MAX_FRAME,
    FrameDecoder,
    Notification,
    Peer,
    Request,
    Response,
    decode_message,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    frame,
)
from jobhost_sdk.wire.peer import MAX_OPEN

if TYPE_CHECKING:
    from jobhost_sdk.wire.peer import Event

VECTORS: dict[str, Any] = json.loads((pathlib.Path(__file__).parent.parent / "wire" / "vectors.json").read_text())


def bins(value: Any) -> Any:
    """The message a vector shows, its bins as bytes."""
    if isinstance(value, dict):
        return value["$bin"].encode() if set(value) == {"$bin"} else {key: bins(item) for key, item in value.items()}
    return [bins(item) for item in value] if isinstance(value, list) else value


def named(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", VECTORS[group], ids=lambda vector: str(vector["name"]))


def encoded(message: list[Any]) -> bytes:
    """A message as the core encodes it."""
    if message[0] == 0:
        return encode_request(message[1], message[2], message[3])
    if message[0] == 2:
        return encode_notification(message[1], message[2])
    return encode_result(message[1], message[3]) if message[2] is None else encode_error(message[1], message[2])


def decoded(stream: bytes) -> list[list[Any]]:
    return [decode_message(body) for body in FrameDecoder().feed(stream)]


# Vectors


def test_vectors_are_what_the_generator_makes() -> None:
    from tests.wire.generate import HERE, text

    assert (HERE / "vectors.json").read_text() == text()


@named("valid")
def test_valid_bytes_give_the_message_and_back(vector: dict[str, Any]) -> None:
    """E2: the calls of the wire, byte for byte."""
    data = bytes.fromhex(vector["hex"])
    message = bins(vector["message"])
    [body] = FrameDecoder().feed(data)
    assert decode_message(body) == message
    assert repr(decode_message(body)) == repr(message)  # 1 is not 1.0 and not True
    if not vector.get("decode_only"):
        assert frame(encoded(message)) == data


@named("invalid")
def test_invalid_bytes_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decoded(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_a_stream_in_chunks_gives_its_messages(size: int) -> None:
    """Trap: replies split at chunk borders."""
    data = bytes.fromhex(VECTORS["stream"]["hex"])
    decoder = FrameDecoder()
    bodies = [body for i in range(0, len(data), size) for body in decoder.feed(data[i : i + size])]
    assert [decode_message(body) for body in bodies] == bins(VECTORS["stream"]["messages"])
    assert not decoder.partial


# Any messages, any chunking

INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)
PARAMS = st.dictionaries(st.text(max_size=8), VALUES, max_size=8)
IDS = st.integers(0, 2**53 - 1)
ERRORS = st.fixed_dictionaries({"type": st.text(max_size=10)}, optional={"message": st.text(), "data": VALUES})
MESSAGES = st.one_of(
    st.tuples(st.just(0), IDS, st.text(max_size=20), PARAMS),
    st.tuples(st.just(1), IDS, st.none(), VALUES),
    st.tuples(st.just(1), IDS, ERRORS, st.none()),
    st.tuples(st.just(2), st.text(max_size=20), PARAMS),
).map(list)


@given(st.lists(MESSAGES, max_size=8), st.data())
def test_any_chunking_gives_the_same_messages(messages: list[list[Any]], data: st.DataObject) -> None:
    stream = b"".join(frame(encoded(message)) for message in messages)
    decoder, got, rest = FrameDecoder(), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        kind = data.draw(st.sampled_from([bytes, bytearray, memoryview]))
        got += [decode_message(body) for body in decoder.feed(kind(rest[:size]))]
        rest = rest[size:]
    assert got == messages
    assert not decoder.partial


@given(st.binary(max_size=200))
def test_garbage_gives_a_message_or_a_protocol_error(body: bytes) -> None:
    try:
        message = decode_message(body)
    except ProtocolError:
        return
    assert message[0] in (0, 1, 2)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_a_garbage_stream_gives_events_or_a_protocol_error(chunks: list[bytes]) -> None:
    peer: Peer[None] = Peer()
    try:
        for chunk in chunks:
            for event in peer.receive(chunk):
                assert isinstance(event, (Request, Response, Notification))
    except ProtocolError:
        pass


@given(MESSAGES, st.data())
@settings(max_examples=300)
def test_a_damaged_message_gives_a_message_or_a_protocol_error(message: list[Any], data: st.DataObject) -> None:
    body = bytearray(encoded(message))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_message(bytes(body))
    except ProtocolError:
        pass


# Frames


def test_a_length_is_refused_before_its_body() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"\x01\x00\x00") == []
    with pytest.raises(ProtocolError, match="frame of 16777217 bytes announced"):
        decoder.feed(b"\x01")


def test_the_largest_frame_passes() -> None:
    body = bytes(MAX_FRAME)
    assert FrameDecoder().feed(frame(body)) == [body]
    with pytest.raises(ProtocolError, match="allowed are 1 to"):
        frame(body + b"\x00")
    with pytest.raises(ProtocolError):
        frame(b"")


def test_a_smaller_limit_holds_for_both_directions() -> None:
    peer: Peer[None] = Peer()
    peer.set_max_frame(100)
    with pytest.raises(ProtocolError):
        peer.notify("x", {"v": b"y" * 100})
    with pytest.raises(ProtocolError, match="frame of 101 bytes"):
        peer.receive((101).to_bytes(4, "big"))


# Peers


def receive_one(peer: Peer[Any], data: bytes) -> Event:
    [event] = peer.receive(data)
    return event


def test_a_conversation() -> None:
    ours: Peer[str] = Peer()
    theirs: Peer[str] = Peer()
    asked = receive_one(theirs, ours.request("ping", {"a": 1}, "cookie"))
    assert isinstance(asked, Request)
    assert (asked.id, asked.method, asked.params) == (0, "ping", {"a": 1})
    assert ours.pending == 1
    answered = receive_one(ours, theirs.result(asked.id, {"ok": True}))
    assert isinstance(answered, Response)
    assert (answered.cookie, answered.error, answered.result) == ("cookie", None, {"ok": True})
    assert ours.pending == 0
    told = receive_one(ours, theirs.notify("x", {}))
    assert isinstance(told, Notification)
    assert (told.method, told.params) == ("x", {})


def test_a_response_nobody_asked_for_is_a_violation() -> None:
    ours: Peer[str] = Peer()
    theirs: Peer[str] = Peer()
    request = ours.request("ping", {}, "cookie")
    theirs.receive(request)
    answer = theirs.result(0, None)
    with pytest.raises(ProtocolError, match="request 7, which is not open"):
        Peer().receive(frame(encode_result(7, None)))
    ours.receive(answer)
    with pytest.raises(ProtocolError, match="not open"):
        ours.receive(answer)


def test_a_request_answers_once() -> None:
    peer: Peer[str] = Peer()
    peer.receive(frame(encode_request(1, "x", {})))
    peer.error(1, {"type": "E"})
    with pytest.raises(ProtocolError, match="answered already"):
        peer.result(1, None)
    with pytest.raises(ProtocolError, match="answered already"):
        peer.error(1, {"type": "E"})


def test_an_open_id_may_not_come_again_and_an_answered_one_may() -> None:
    peer: Peer[str] = Peer()
    request = frame(encode_request(1, "x", {}))
    peer.receive(request)
    with pytest.raises(ProtocolError, match="came twice"):
        peer.receive(request)
    peer.result(1, None)
    assert receive_one(peer, request)


def test_a_result_too_large_leaves_the_request_open() -> None:
    peer: Peer[str] = Peer(100)
    peer.receive(frame(encode_request(1, "x", {})))
    with pytest.raises(ProtocolError):
        peer.result(1, b"y" * 100)
    assert peer.error(1, {"type": "TooLarge"})


def test_open_requests_are_bounded() -> None:
    peer: Peer[str] = Peer()
    for id in range(MAX_OPEN):
        peer.receive(frame(encode_request(id, "x", {})))
    with pytest.raises(ProtocolError, match="more than 1024"):
        peer.receive(frame(encode_request(MAX_OPEN, "x", {})))


def test_a_request_too_large_is_not_pending() -> None:
    peer: Peer[str] = Peer(100)
    with pytest.raises(ProtocolError):
        peer.request("x", {"v": b"y" * 100}, "cookie")
    assert peer.pending == 0


def test_deadlines_and_the_end() -> None:
    peer: Peer[str] = Peer()
    peer.request("x", {}, "early", deadline=1.0)
    peer.request("x", {}, "late", deadline=9.0)
    peer.request("x", {}, "never")
    assert peer.expired(1.0) == ["early"]
    assert peer.expired(1.0) == ["early"]  # the answer may still come
    assert sorted(peer.abandoned()) == ["early", "late", "never"]
    assert peer.pending == 0


def test_partial_says_that_a_frame_has_begun() -> None:
    peer: Peer[str] = Peer()
    data = frame(encode_notification("x", {}))
    peer.receive(data[:6])
    assert peer.partial
    peer.receive(data[6:])
    assert not peer.partial
