"""Events on their way between processes: `[type, queue, job_id, name, ts, attempt, data]`, without the data if there is none or it
is too long. A letter is a JSON array of them, of a size that its carrier takes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .job import Event

_Fields = tuple[str, str, str | None, str | None, int, int]


def letters_of(events: list[Event], most: int) -> Iterator[bytes]:
    """Pack events into JSON arrays of at most so many bytes, as long as names and ids are short."""
    packed: list[bytes] = []
    size = 0
    for event in events:
        try:
            text = _pack(event, most)
        except UnicodeEncodeError:
            continue  # half of a pair of surrogates in a name: no letter can say it
        if packed and size + len(text) > most:
            yield b"[" + b",".join(packed) + b"]"
            packed, size = [], 0
        packed.append(text)
        size += len(text) + 1
    if packed:
        yield b"[" + b",".join(packed) + b"]"


def _pack(event: Event, most: int) -> bytes:
    fields: list[object] = [event.type, event.queue, event.job_id, event.name, event.ts, event.attempt]
    if event.data is not None and len(event.data) < most // 2:
        fields.append(msgspec.Raw(event.data))
    return msgspec.json.encode(fields)


def events_in(letters: list[bytes]) -> Iterator[Event]:
    """Unpack events; what is none is passed over."""
    for letter in letters:
        try:
            packed = msgspec.json.decode(letter, type=list[list[msgspec.Raw]])
            events = [_unpack(fields) for fields in packed]
        except (msgspec.DecodeError, ValueError):
            continue
        yield from events


def _unpack(fields: list[msgspec.Raw]) -> Event:
    type, queue, job_id, name, ts, attempt = msgspec.convert(
        [msgspec.json.decode(field) for field in fields[:6]], type=_Fields
    )
    return Event(type, queue, job_id, name, ts, attempt, bytes(fields[6]) if len(fields) > 6 else None)
