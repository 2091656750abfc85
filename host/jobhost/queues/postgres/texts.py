"""How Python's texts and lists become Postgres's.

A text of Postgres holds neither NUL nor lone surrogates, which names and keys of users may: they are written with \\x01 in front. The
mapping keeps the order, is undone when a text is read, and leaves all other texts as they are, so that people can read the tables.

Lists travel as array literals: they are joined much quicker than psycopg writes its elements one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper

_SPECIAL = re.compile("[\0\1\ud800-\udfff]")
_WRITTEN = re.compile("\1(?:([\1\2])|\3([0-9a-f]{4}))")


def stored(text: str) -> bytes:
    """A text as the database keeps it."""
    if "\0" not in text and "\1" not in text:
        try:
            return text.encode()
        except UnicodeEncodeError:
            pass
    return _SPECIAL.sub(_write, text).encode()


def _write(found: re.Match[str]) -> str:
    character = found[0]
    return {"\0": "\1\1", "\1": "\1\2"}.get(character) or f"\1\3{ord(character):04x}"


def read(text: bytes) -> str:
    """The reverse of `stored`."""
    if b"\1" not in text:
        return text.decode()
    return _WRITTEN.sub(_read, text.decode())


def _read(found: re.Match[str]) -> str:
    if found[1]:
        return "\0" if found[1] == "\1" else "\1"
    return chr(int(found[2], 16))


class TextDumper(Dumper):
    """Of no type of its own: what a text is follows from where it stands, as in a literal."""

    def dump(self, obj: Any) -> bytes:
        return stored(obj)


class TextLoader(Loader):
    def load(self, data: Any) -> str:
        return read(bytes(data))


class TextBinaryLoader(TextLoader):
    format = Format.BINARY


def adapt(adapters: AdaptersMap) -> None:
    """Let a connection or a cursor read and write in this way."""
    adapters.register_dumper(str, TextDumper)
    adapters.register_dumper(int, Int8BinaryDumper)  # one type for all: else one statement is prepared many times
    adapters.register_loader("text", TextLoader)
    adapters.register_loader("text", TextBinaryLoader)


def numbers(values: Iterable[int | None]) -> str:
    """An array of integers."""
    return "{" + ",".join(["NULL" if value is None else str(int(value)) for value in values]) + "}"


def words(values: Iterable[str | None]) -> str:
    """An array of texts."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def blobs(values: Iterable[bytes | None]) -> str:
    """An array of bytea."""
    return "{" + ",".join(["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]) + "}"
