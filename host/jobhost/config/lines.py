"""Finds the line of every key in a TOML text, so that a complaint about a value can name it.

tomllib gives values without places. This scanner gives places without values: it follows tables, arrays of tables,
dotted keys, inline tables and every kind of string, and nothing more. It expects text that tomllib has taken already.
"""

from __future__ import annotations

import bisect
import re
import tomllib

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Give the line (from 1) of each key, table and array member of a valid TOML text, by its path."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[KeyPath, int] = {}
        self._members: dict[KeyPath, int] = {}
        """How many tables each array of tables has so far: a header below it means its last one."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while not self._blank_to_end():
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> KeyPath:
        line, array = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        names = self._key()
        self._at += 2 if array else 1
        path: KeyPath = ()
        for index, name in enumerate(names):
            path = self._note((*path, name), line)
            last = index == len(names) - 1
            if array and last:
                self._members[path] = self._members.get(path, 0) + 1
            if path in self._members:
                path = self._note((*path, self._members[path] - 1), line)
        return path

    def _pair(self, table: KeyPath) -> None:
        """`key = value`, where the key may be dotted."""
        line = self._line()
        path = table
        for name in self._key():
            path = self._note((*path, name), line)
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._value(path)

    def _key(self) -> list[str]:
        names = []
        while True:
            self._skip(_SPACE)
            names.append(self._name())
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _name(self) -> str:
        if bare := _BARE.match(self._text, self._at):
            self._at = bare.end()
            return bare[0]
        quoted = self._string()
        value = tomllib.loads(f"k = {quoted}")["k"]
        assert isinstance(value, str)
        return value

    def _value(self, path: KeyPath) -> None:
        self._skip(_SPACE)
        start = self._text[self._at : self._at + 1]
        if start == "[":
            self._array(path)
        elif start == "{":
            self._inline_table(path)
        elif start in ("'", '"'):
            self._string()
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while not self._closed("]"):
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while not self._closed("}"):
            self._pair(path)

    def _closed(self, bracket: str) -> bool:
        """Pass blanks and commas to the next member; True if the bracket closes instead, and is passed."""
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)
        if self._text.startswith(bracket, self._at):
            self._at += 1
            return True
        return False

    def _string(self) -> str:
        match = _STRINGS.match(self._text, self._at)
        assert match is not None, "not a valid TOML text"
        self._at = match.end()
        return match[0]

    def _blank_to_end(self) -> bool:
        self._skip(_BLANK)
        return self._at >= len(self._text)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _line(self) -> int:
        return bisect.bisect_right(self._starts, self._at)

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self._lines.setdefault(path, line)
        return path
