"""Feed the wire core vectors, garbage and bombs, in a process of its own; prints what it counted as JSON.

    python -I -S tests/wire/abuse.py SDK_FOLDER MSGPACK_FOLDER [SEED]

Run under every interpreter and every msgpack a child may meet. Only what a child has is imported.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SDK, MSGPACK = sys.argv[1], sys.argv[2]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 0
sys.path[:0] = [os.path.dirname(SDK), MSGPACK]

import msgpack  # noqa: E402
from jobhost_sdk.errors import ProtocolError  # noqa: E402
from jobhost_sdk.wire import FrameDecoder, Peer, decode_message  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "vectors.json"), encoding="utf-8") as file:
    VECTORS = json.load(file)


def bins(value: Any) -> Any:
    """The message a vector shows, its bins as bytes."""
    if isinstance(value, dict):
        return value["$bin"].encode() if set(value) == {"$bin"} else {key: bins(item) for key, item in value.items()}
    return [bins(item) for item in value] if isinstance(value, list) else value


def refused(data: bytes) -> bool:
    """Whether the core refuses `data`; any error but ProtocolError escapes."""
    try:
        for body in FrameDecoder().feed(data):
            decode_message(body)
    except ProtocolError:
        return True
    return False


def valid_vectors() -> int:
    for vector in VECTORS["valid"]:
        [body] = FrameDecoder().feed(bytes.fromhex(vector["hex"]))
        got, want = decode_message(body), bins(vector["message"])
        assert repr(got) == repr(want), vector["name"]
    return len(VECTORS["valid"])


def invalid_vectors() -> int:
    for vector in VECTORS["invalid"]:
        assert refused(bytes.fromhex(vector["hex"])), vector["name"]
    return len(VECTORS["invalid"])


def garbage(rounds: int) -> int:
    """Random bytes, and true messages with a few bytes changed."""
    chance = random.Random(SEED)
    bodies = [bytes.fromhex(vector["hex"])[4:] for vector in VECTORS["valid"]]
    counts = {True: 0, False: 0}
    for _ in range(rounds):
        body = bytearray(chance.choice(bodies)[:2000] if chance.random() < 0.8 else chance.randbytes(40))
        for _ in range(chance.randint(0, 4)):
            body[chance.randrange(len(body))] = chance.choice(
                [0xC1, 0xC7, 0xD9, 0xDD, 0xDF, 0xFF, chance.randrange(256)]
            )
        data = len(body).to_bytes(4, "big") + bytes(body)
        counts[refused(data)] += 1
        try:
            Peer().receive(data)
        except ProtocolError:
            pass
    return counts[True]


def bombs() -> int:
    """Large bodies that announce more than they hold: refused, and without the memory they ask for."""
    megabyte = 1 << 20
    made = [
        b"\xdd\xff\xff\xff\xff" * (megabyte // 5),
        b"\xdf\xff\xff\xff\xff" * (megabyte // 5),
        b"\xdc\x00\x40" * (megabyte // 3),
        b"\x91" * megabyte,
        b"\x81\xa0" * (megabyte // 2),
        b"\x9f" * megabyte,
        b"\x93\x02\xa1x\x81\xa1v\xc6\xff\xff\xff\xff" + bytes(megabyte),
        b"\x93\x02\xa1x\x81\xa1v" + b"\xdc\xff\xff" + b"\x80" * 65535,
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for body in made:
        assert refused(len(body).to_bytes(4, "big") + body), body[:8]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


counted = {
    "python": "{}.{}".format(*sys.version_info[:2]),
    "msgpack": ".".join(map(str, msgpack.version)),
    "pure": hasattr(msgpack.Packer(), "_buffer"),
    "valid": valid_vectors(),
    "invalid": invalid_vectors(),
    "refused": garbage(3000),
    "bomb_mib": bombs(),
}
print(json.dumps(counted))
