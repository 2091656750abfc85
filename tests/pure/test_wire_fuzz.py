"""The peer under mutated traffic: everything that comes of the vectors by damage, in any chunks, is an event or a ProtocolError.

The corpus is `tests/wire/vectors.json`, valid and invalid; what brings a peer to a message or an error that was not seen before joins
it. The seed is printed by a failure, so that it can be repeated.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from jobhost_runtimes.calls import REQUESTS, log_line, params_problem
from jobhost_runtimes.errors import ChildStartError
from jobhost_runtimes.json_text import is_json
from jobhost_runtimes.reports import contents_of, raised
from jobhost_sdk.errors import ProtocolError
from jobhost_sdk.wire import Notification, Peer, Request, Response

VECTORS = json.loads((Path(__file__).parents[1] / "wire" / "vectors.json").read_text())
CORPUS = [bytes.fromhex(one["hex"]) for kind in ("valid", "invalid") for one in VECTORS[kind]]
CORPUS = [frame for frame in CORPUS if len(frame) < 4096]
MOST_KEPT = 2_000
MOST_MEMORY = 48 * 1024 * 1024
"""Bytes one stream may take: a frame's announced length alone must cost nothing."""
TOKENS = [
    b"\xc0",
    b"\xc1",
    b"\x94",
    b"\x93",
    b"\x80",
    b"\x8f",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\x7f\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
]
TOKENS += [
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xc7\x05\x01",
    b"\xd4\xff\x00",
    b"\xa3run",
]
TOKENS += [b"\x91" * 40, b"\x81\xc4\x01a", b"\xca\x7f\xc0\x00\x00"]


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """One frame of the corpus, damaged up to four times; its length mostly made right again."""
    data = bytearray(rng.choice(corpus))
    body = data[4:] or bytearray(b"\x94")
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(6):
            case 0 if body:
                body[at % len(body)] ^= 1 << rng.randrange(8)
            case 1:
                body[at:at] = rng.choice(TOKENS)
            case 2:
                del body[at : at + rng.randint(1, 8)]
            case 3:
                other = rng.choice(corpus)[4:]
                start = rng.randrange(len(other) + 1)
                body[at:at] = other[start : start + rng.randint(1, 40)]
            case 4:
                body[at:at] = rng.randbytes(rng.randint(1, 6))
            case _ if body:
                body[at % len(body)] = rng.choice([0, 0x7F, 0x80, 0xFF, 0xC0, 0xC4])
    length = (
        len(body)
        if rng.random() < 0.9
        else rng.choice([0, 1, len(body) - 1, len(body) + 1, 1 << 24, (1 << 24) + 1, 1 << 31])
    )
    return max(0, length).to_bytes(4, "big") + bytes(body)


def peer_with_requests() -> Peer[str]:
    """A host's end that waits for the answers that the corpus has."""
    peer: Peer[str] = Peer()
    for n in range(40):
        peer.request("execute", {"n": n}, f"cookie {n}")
    return peer


def taken(event: Any) -> str:
    """What a host does with an event before it acts; gives what it has become, to tell new ones from those seen."""
    if isinstance(event, Response):
        assert event.cookie.startswith("cookie ")
        if event.error is not None:
            return f"failed {raised(event.error).ending}"
        try:
            contents_of(event.result)
        except ChildStartError as error:
            return f"no contents {str(error)[:20]}"
        return f"result {is_json(event.result)}"
    if isinstance(event, Request):
        known = event.method in REQUESTS
        try:
            return f"call {known} {params_problem(event.method, event.params)}"
        except KeyError:
            return "an unknown call"
    assert isinstance(event, Notification)
    return f"told {event.method[:16]} {log_line(event.params, 1024) is None}"


@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 4_000), *(pytest.param(seed, 60_000, marks=pytest.mark.long) for seed in range(2, 6))]
)
def test_damaged_traffic_gives_events_or_a_protocol_error(seed: int, rounds: int) -> None:
    """E2. Whatever a child sends: no other exception, and no memory beyond what came."""
    rng, corpus, seen = random.Random(seed), list(CORPUS), set()
    tracemalloc.start()
    try:
        for number in range(rounds):
            frames = [mutated(rng, corpus) for _ in range(rng.randint(1, 3))]
            stream, peer, became = b"".join(frames), peer_with_requests(), []
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                while stream:
                    size = rng.choice([1, 3, len(stream), len(stream)])
                    became += [taken(event) for event in peer.receive(stream[:size])]
                    stream = stream[size:]
            except ProtocolError as error:
                became.append(str(error)[:24])
            except BaseException as error:
                raise AssertionError(f"seed {seed}, round {number}: {frames!r}") from error
            assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY, frames
            if tuple(became) not in seen and len(corpus) < MOST_KEPT:
                seen.add(tuple(became))
                corpus += frames
    finally:
        tracemalloc.stop()
    assert len(seen) > 40, "the damage reaches many kinds of ends"
