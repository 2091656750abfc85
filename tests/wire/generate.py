"""Write `vectors.json`: byte-exact examples of the wire that the tests of every language read.

Run it as `python tests/wire/generate.py` after a change of PROTOCOL.md. Invalid frames are put together by hand, since
no packer would make them.

A `message` is JSON, but for a MessagePack `bin`, which is written `{"$bin": "<its UTF-8 text>"}`. `decode_only` marks
bytes that are allowed and that an encoder need not give: longer forms than necessary, floats that are whole numbers,
integers that JavaScript rounds.
"""

from __future__ import annotations

import json
import pathlib
import struct
import sys
from typing import Any

import msgpack

HERE = pathlib.Path(__file__).parent
MAX_FRAME = 16 * 1024 * 1024
RUN = "r-5f2c9a"


def framed(body: bytes) -> bytes:
    """Put the length in front."""
    return struct.pack(">I", len(body)) + body


def packed(message: Any) -> bytes:
    """Encode a message whose bins are `{"$bin": text}`."""
    return msgpack.packb(_bins(message), use_bin_type=True)  # type: ignore[no-any-return]


def _bins(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$bin"}:
            return value["$bin"].encode()
        return {key: _bins(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bins(item) for item in value]
    return value


def b(text: str) -> dict[str, str]:
    """A bin that holds `text`."""
    return {"$bin": text}


def nested(depth: int) -> Any:
    """`depth` arrays, one in the other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def job(**changes: Any) -> dict[str, Any]:
    """A job as `execute` carries it."""
    plain = {
        "id": "42",
        "name": "image.resize",
        "queue": "images",
        "data": b('{"width":640}'),
        "attempt": 1,
        "max_attempts": 3,
        "priority": 0,
        "created_at": 1760000000000,
        "metadata": None,
    }
    return {**plain, **changes}


def context(**changes: Any) -> dict[str, Any]:
    """The context of a run that is part of no flow."""
    plain = {
        "flow_id": None,
        "flow_name": None,
        "step_name": None,
        "step_id": None,
        "attempt": 1,
        "deadline_ms": 1760000030000,
        "timeout_ms": 30000,
        "idempotency_key": "images:42:1760000000000",
        "traceparent": None,
    }
    return {**plain, **changes}


def host_to_child() -> list[tuple[str, Any]]:
    """Every method of PROTOCOL.md section 4, and answers to section 5."""
    options = {
        "methods": b('["ctx.state.get","ctx.state.set","job.updateData"]'),
        "max_frame": MAX_FRAME,
        "max_log_line": 16384,
        "log_rate": 1000,
        "log_burst": 2000,
        "sdk_paths": b("[]"),
        "schemas": b('{"image.resize":{"input":{"type":"object"},"emits":{"image.resized":null}}}'),
    }
    bundle = {"root": "/srv/handlers", "files": b('["resize.py","core/é.py"]')}
    flow = context(
        flow_id="f-1",
        flow_name="orders",
        step_name="charge",
        step_id="f-1__image.resize__attempt-2",
        attempt=2,
        deadline_ms=None,
        timeout_ms=None,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    execute = {"run": RUN, "handler": "image.resize", "job": job(), "context": context()}
    other = {"run": "r-2", "handler": "*", "job": job(name="", data=b("null"), metadata=b('{"a":1}')), "context": flow}
    return [
        ("initialize", [0, 0, "initialize", {"protocol": 1, "bundle": bundle, "options": options}]),
        ("execute", [0, 1, "execute", execute]),
        ("execute in a flow, unnamed job, metadata", [0, 2, "execute", other]),
        ("validate", [0, 3, "validate", {"handler": "image.resize", "data": b("{}")}]),
        *(
            (f"cancel: {reason}", [2, "cancel", {"run": RUN, "reason": reason}])
            for reason in ("timeout", "cancelled", "lease_lost", "shutdown", "recall")
        ),
        ("ping", [0, 4, "ping", {}]),
        ("shutdown", [0, 5, "shutdown", {}]),
        ("answer: nil, a missing value", [1, 0, None, None]),
        ("answer: a stored null", [1, 1, None, b("null")]),
        ("answer: a stored value", [1, 2, None, b('{"text":"héllo 🌍"}')]),
        ("answer: true", [1, 3, None, True]),
        ("answer: false", [1, 4, None, False]),
        ("answer: an integer", [1, 5, None, -7]),
        ("answer: a page of keys", [1, 6, None, {"keys": b('["a","b"]'), "cursor": "b"}]),
        ("answer: the last page of keys", [1, 7, None, {"keys": b("[]"), "cursor": None}]),
        ("answer: an empty map", [1, 8, None, {}]),
        ("answer: refused", [1, 9, error("RunNotLiveError", "run r-0 is not live here"), None]),
    ]


def error(type: str, message: str, **changes: Any) -> dict[str, Any]:
    """An error as the wire carries it."""
    return {"type": type, "message": message, "stack": "", "retry": None, "data": None, **changes}


def child_to_host() -> list[tuple[str, Any]]:
    """Every method of PROTOCOL.md section 5, and answers to section 4."""
    line = {"run": RUN, "level": "info", "message": "resizing", "fields": b('{"width":640}'), "ts": 1760000000123}
    loading = {"run": None, "level": "warning", "message": "", "fields": None, "ts": 0, "source": "stderr"}
    emit = {"run": RUN, "trigger": "image.resized", "payload": b('{"id":"42"}'), "key": None, "immediate": False}
    started = {
        "protocol": 1,
        "sdk": "jobhost-sdk-python 0.1.0",
        "language": "python 3.13.0",
        "pid": 4711,
        "handlers": b(
            '[{"name":"image.resize","file":"resize.py","line":4,"kind":"async","input":{"type":"object"},"result":true,'
            '"flow":{"emits":{"image.resized":null}}}]'
        ),
        "problems": b('[{"file":"bad.py","line":1,"error":"SyntaxError: invalid syntax"}]'),
    }
    invalid = error(
        "InvalidJobDataError",
        "width: must be an integer",
        retry=False,
        data=b('{"fields":[{"field":"width","message":"must be an integer"}]}'),
    )
    raised = error("ValueError", "", stack='Traceback (most recent call last):\n  File "a.py", line 1\n')
    return [
        ("initialize answered", [1, 0, None, started]),
        ("execute answered: null", [1, 1, None, b("null")]),
        ("execute answered: a value", [1, 2, None, b('{"ok":true}')]),
        ("execute answered: an exception", [1, 3, raised, None]),
        ("execute answered: invalid data", [1, 4, invalid, None]),
        ("execute answered: RetryLater", [1, 5, error("RetryLater", "come back in 5m", retry=300000), None]),
        ("execute answered: an error that has only a type", [1, 6, {"type": "NotStartedError"}, None]),
        ("validate answered", [1, 7, None, {"problems": b("[]")}]),
        ("shutdown answered", [1, 8, None, {}]),
        ("state.get", [0, 0, "ctx.state.get", {"run": RUN, "key": "last", "scope": None}]),
        (
            "state.set",
            [0, 1, "ctx.state.set", {"run": RUN, "key": "", "value": b("[1,2]"), "ttl": 60000, "scope": "handler"}],
        ),
        (
            "state.set without ttl",
            [0, 2, "ctx.state.set", {"run": RUN, "key": "ключ", "value": b("0"), "ttl": None, "scope": "job"}],
        ),
        ("state.delete", [0, 3, "ctx.state.delete", {"run": RUN, "key": "last", "scope": "flow"}]),
        ("state.has", [0, 4, "ctx.state.has", {"run": RUN, "key": "last", "scope": "global"}]),
        ("state.keys", [0, 5, "ctx.state.keys", {"run": RUN, "scope": None, "cursor": None}]),
        ("state.keys, next page", [0, 6, "ctx.state.keys", {"run": RUN, "scope": None, "cursor": "k999"}]),
        ("state.incr", [0, 7, "ctx.state.incr", {"run": RUN, "key": "n", "by": -1, "scope": None}]),
        ("progress: a number", [2, "ctx.progress", {"run": RUN, "value": b("50")}]),
        ("progress: an object", [2, "ctx.progress", {"run": RUN, "value": b('{"done":1,"of":3}')}]),
        *(
            (f"log from {source}", [2, "ctx.logger.log", {**line, "source": source}])
            for source in ("handler", "stdout", "stderr", "logging")
        ),
        ("log line of no run", [2, "ctx.logger.log", loading]),
        ("emit", [0, 8, "ctx.flow.emit", emit]),
        ("emit at once with a key", [0, 9, "ctx.flow.emit", {**emit, "key": "k-1", "immediate": True}]),
        ("job.children", [0, 10, "job.children", {"run": RUN}]),
    ]


def values() -> list[tuple[str, Any]]:
    """Limits and forms of the values themselves, in messages a decoder must take."""

    def carried(value: Any) -> Any:
        return [2, "x", {"v": value}]

    integers = [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, -1, -32, -33, -128, -129, -32769, -(2**31) - 1]
    return [
        *((f"integer {number}", carried(number)) for number in [*integers, 2**53 - 1, -(2**53) + 1]),
        ("largest id", [0, 2**53 - 1, "x", {}]),
        *((f"float {number}", carried(number)) for number in (0.5, -0.1, 1e300, 5e-324)),
        ("empty string", carried("")),
        ("empty bin", carried(b(""))),
        ("empty key", [2, "x", {"": None}]),
        ("empty method", [2, "", {}]),
        ("unicode", carried("héllo wörld \U0001f30d 漢字 \u0000\ufeff\u200d")),
        *((f"string of {n} bytes", carried("s" * n)) for n in (31, 32, 255, 256)),
        *((f"bin of {n} bytes", carried(b("b" * n))) for n in (255, 256)),
        *((f"array of {n}", carried(list(range(n)))) for n in (15, 16, 64)),
        *((f"map of {n}", [2, "x", {f"k{i}": i for i in range(n)}]) for n in (15, 16, 64)),
        ("16 deep", [2, "x", {"v": nested(14)}]),
        ("params a receiver does not know", [0, 1, "ping", {"later": [1, {"a": b("b")}]}]),
    ]


def decode_only() -> list[tuple[str, bytes, Any]]:
    """Bytes that are allowed though no encoder need give them."""
    head = b"\x93\x02\xa1x\x81\xa1v"
    note = [2, "x"]
    return [
        ("int64, largest", head + b"\xcf" + struct.pack(">Q", 2**63 - 1), [*note, {"v": 2**63 - 1}]),
        ("int64, smallest", head + b"\xd3" + struct.pack(">q", -(2**63)), [*note, {"v": -(2**63)}]),
        ("whole float", head + b"\xcb" + struct.pack(">d", 1.0), [*note, {"v": 1.0}]),
        ("1 in eight bytes", head + b"\xd3" + struct.pack(">q", 1), [*note, {"v": 1}]),
        ("short string in the longest form", head + b"\xdb\x00\x00\x00\x01y", [*note, {"v": "y"}]),
        ("short bin in the longest form", head + b"\xc6\x00\x00\x00\x01y", [*note, {"v": b("y")}]),
        ("short array in the longest form", head + b"\xdd\x00\x00\x00\x01\x01", [*note, {"v": [1]}]),
        ("envelope in array 16", b"\xdc\x00\x03\x02\xa1x\x80", [*note, {}]),
        ("params in map 32", b"\x93\x02\xa1x\xdf\x00\x00\x00\x00", [*note, {}]),
    ]


def invalid() -> list[tuple[str, bytes]]:
    """Whole frames that must be refused: PROTOCOL.md section 6, as far as one frame shows it."""
    return [*_bad_lengths(), *((name, framed(body)) for name, body in [*_bad_bodies(), *_bad_shapes(), *_bombs()])]


def _bad_lengths() -> list[tuple[str, bytes]]:
    return [
        ("length 0", struct.pack(">I", 0)),
        ("length over max_frame", struct.pack(">I", MAX_FRAME + 1)),
        ("length 2^32-1", b"\xff\xff\xff\xff"),
        ("text where a frame should be", b"hello, world\n"),
    ]


def _bad_bodies() -> list[tuple[str, bytes]]:
    good = packed([2, "x", {"v": 1}])
    head = b"\x93\x02\xa1x\x81\xa1v"
    return [
        ("bytes left over", good + b"\xc0"),
        ("two messages in one frame", good + good),
        ("body cut in the middle", good[:-1]),
        ("body cut in a string", packed([2, "abc", {}])[:-3]),
        ("a string longer than the frame", b"\x93\x02\xdb\xff\xff\xff\xff"),
        ("a bin longer than the frame", head + b"\xc6\x7f\xff\xff\xff"),
        ("the byte c1, never used", b"\xc1"),
        ("c1 inside", head + b"\xc1"),
        ("fixext 1", head + b"\xd4\x05\x00"),
        ("fixext 16", head + b"\xd8\x05" + bytes(16)),
        ("ext 8 of no bytes", head + b"\xc7\x00\x05"),
        ("ext 8", head + b"\xc7\x02\x05\x00\x00"),
        ("ext 32", head + b"\xc9\x00\x00\x00\x01\x05\x00"),
        ("timestamp 32", head + b"\xd6\xff" + struct.pack(">I", 1)),
        ("timestamp 64", head + b"\xd7\xff" + struct.pack(">Q", 1)),
        ("timestamp 96", head + b"\xc7\x0c\xff" + bytes(12)),
    ]


def _bad_shapes() -> list[tuple[str, bytes]]:
    shapes: list[tuple[str, Any]] = [
        ("nil", None),
        ("an integer", 1),
        ("a string", "x"),
        ("a map", {"0": 1}),
        ("an empty array", []),
        ("type 3", [3, "x", {}]),
        ("type -1", [-1, 1, "x", {}]),
        ("type false", [False, 1, "x", {}]),
        ("type true", [True, 1, None, None]),
        ("type 2.0", [2.0, "x", {}]),
        ('type "0"', ["0", 1, "x", {}]),
        ("type nil", [None, 1, "x", {}]),
        ("request of 3", [0, 1, "x"]),
        ("request of 5", [0, 1, "x", {}, None]),
        ("response of 3", [1, 1, None]),
        ("response of 5", [1, 1, None, None, None]),
        ("notification of 2", [2, "x"]),
        ("notification of 4", [2, 1, "x", {}]),
        ("id -1", [0, -1, "x", {}]),
        ("id 2^53", [0, 2**53, "x", {}]),
        ("id 2^64-1", [1, 2**64 - 1, None, None]),
        ("id true", [0, True, "x", {}]),
        ("id 1.0", [1, 1.0, None, None]),
        ("id 1.5", [0, 1.5, "x", {}]),
        ("id nil", [0, None, "x", {}]),
        ("id a string", [1, "1", None, None]),
        ("method nil", [0, 1, None, {}]),
        ("method a number", [2, 1, {}]),
        ("method a bin", [0, 1, b("ping"), {}]),
        ("params nil", [0, 1, "ping", None]),
        ("params an array", [0, 1, "ping", []]),
        ("params a bin", [2, "x", b("{}")]),
        ("error a string", [1, 1, "failed", None]),
        ("error false", [1, 1, False, None]),
        ("error an array", [1, 1, ["ValueError"], None]),
        ("error without a type", [1, 1, {"message": "m"}, None]),
        ("error with a type that is a bin", [1, 1, {"type": b("E")}, None]),
        ("error and result", [1, 1, {"type": "E"}, True]),
        ("error and a false result", [1, 1, {"type": "E"}, False]),
        ("17 deep", [2, "x", {"v": nested(15)}]),
        ("17 deep in a result", [1, 1, None, nested(16)]),
        ("17 deep in an error", [1, 1, {"type": "E", "data": nested(15)}, None]),
        ("array of 65", [2, "x", {"v": list(range(65))}]),
        ("map of 65", [2, "x", {f"k{i}": i for i in range(65)}]),
        ("envelope of 65", [0] * 65),
    ]
    keys = [
        ("an integer as key", b"\x93\x02\xa1x\x81\x01\x01"),
        ("a bin as key", b"\x93\x02\xa1x\x81\xc4\x01k\x01"),
        ("nil as key", b"\x93\x02\xa1x\x81\xc0\x01"),
        ("an array as key", b"\x93\x02\xa1x\x81\x91\x01\x01"),
        ("an integer as key, deeper", b"\x93\x02\xa1x\x81\xa1v\x91\x81\x01\x01"),
        ("a bin as key in a result", b"\x94\x01\x01\xc0\x81\xc4\x01k\x01"),
    ]
    return [*((name, packed(shape)) for name, shape in shapes), *keys]


def _bombs() -> list[tuple[str, bytes]]:
    return [
        ("an array that announces 2^32-1", b"\xdd\xff\xff\xff\xff"),
        ("a map that announces 2^32-1", b"\x93\x02\xa1x\xdf\xff\xff\xff\xff"),
        ("an array of 65,535 inside", b"\x93\x02\xa1x\x81\xa1v\xdc\xff\xff"),
        ("1,000 nested arrays", b"\x91" * 1000 + b"\xc0"),
        ("10,000 nested arrays", b"\x91" * 10_000 + b"\xc0"),
        ("1,000 nested maps", b"\x81\xa1k" * 1000 + b"\xc0"),
        ("1,000 nested arrays of 64", b"\xdc\x00\x40" * 1000),
        ("1,000 nested announcements of 2^32-1", b"\xdd\xff\xff\xff\xff" * 1000),
    ]


def vectors() -> dict[str, Any]:
    """All of it, as it stands in vectors.json."""
    messages = [
        *((f"host: {name}", message) for name, message in host_to_child()),
        *((f"child: {name}", message) for name, message in child_to_host()),
        *values(),
    ]
    stream = [message for _, message in [*host_to_child(), *child_to_host()]]
    return {
        "valid": [
            *({"name": name, "hex": framed(packed(message)).hex(), "message": message} for name, message in messages),
            *(
                {"name": name, "hex": framed(body).hex(), "message": message, "decode_only": True}
                for name, body, message in decode_only()
            ),
        ],
        "invalid": [{"name": name, "hex": data.hex()} for name, data in invalid()],
        "stream": {"hex": b"".join(framed(packed(message)) for message in stream).hex(), "messages": stream},
    }


def text() -> str:
    """The file: one vector a line, so that a change shows in a diff."""
    made = vectors()

    def lines(items: list[Any]) -> str:
        return ",\n".join(json.dumps(item, ensure_ascii=True) for item in items)

    return (
        f'{{"valid": [\n{lines(made["valid"])}\n],\n"invalid": [\n{lines(made["invalid"])}\n],\n'
        f'"stream": {json.dumps(made["stream"])}}}\n'
    )


if __name__ == "__main__":
    HERE.joinpath("vectors.json").write_text(text())
    sys.stdout.write(f"{HERE / 'vectors.json'}\n")
