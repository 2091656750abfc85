"""The user's values as JSON text: what may travel, and the path of what may not.

Only what means the same in every language passes: str, bool, None, int within ±(2^53-1), finite float, and lists,
tuples and dicts with str keys of these. A tuple arrives as a list.

`json` itself is not imported, since it brings `re` and 10 ms of start time; its C halves in `_json` are all that is used.
"""

from __future__ import annotations

from .errors import InvalidValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SAFE = 2**53 - 1
"""The largest integer that JavaScript, and so a BullMQ producer or dashboard, reads back unchanged."""

MAX_DEPTH = 200
"""Levels of lists and dicts. Deeper text is refused or crashes readers in other languages."""


def _scanner_and_encoder() -> tuple[Any, Any]:
    try:
        from _json import encode_basestring, make_encoder, make_scanner
    except ImportError:  # an interpreter without the C halves, such as PyPy
        from json.decoder import JSONDecoder
        from json.encoder import JSONEncoder

        plain = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        scan: Any = JSONDecoder(parse_constant=_no_constant)
        return scan.scan_once, lambda value, _level: (plain.encode(value),)
    encoder = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)
    settings: Any = _ScannerSettings
    return make_scanner(settings), encoder


def _no_constant(name: str) -> Any:
    """Python's own reader takes NaN and Infinity, which are not JSON and no other language reads."""
    raise ValueError(f"{name} is not JSON")


class _ScannerSettings:
    """What `json.JSONDecoder` hands to the C scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_no_constant)


def _refuse(value: object) -> object:
    raise TypeError(type(value).__name__)


_scan, _encoder = _scanner_and_encoder()


def encode(value: Any, where: str) -> bytes:
    """Give `value` as JSON text; `where` begins the path in errors: `result`, `state value`.

    Raises InvalidValueError with the path of the first part JSON cannot carry.
    """
    try:
        if _is_plain(value, MAX_DEPTH - 1):  # `value` is the first level
            return "".join(_encoder(value, 0)).encode()
    except (TypeError, ValueError, RecursionError):
        pass  # the slow way says what it was and where
    try:
        _find_offence(value, where, MAX_DEPTH, set())
        return "".join(_encoder(value, 0)).encode()
    except RecursionError:
        raise InvalidValueError(where, "nests too deep") from None
    except (TypeError, ValueError) as error:
        raise InvalidValueError(where, f"is not a JSON value: {error}") from None


def decode(data: bytes) -> Any:
    """Give the value of JSON text in UTF-8; raises ValueError if it is not one, or nests too deep to build."""
    text = str(data, "utf-8").strip(" \t\n\r")
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError):
        # SystemError: the C scanner takes JSONDecodeError from json.decoder only if something has loaded that.
        raise ValueError("not JSON text") from None
    except RecursionError:
        raise ValueError("JSON text nests too deep") from None
    if end != len(text):
        raise ValueError("text after the JSON value")
    return value


def encode_lossy(value: Any) -> bytes:
    """Give `value` as JSON text whatever it is: what JSON cannot carry becomes its `repr`. For logs; never raises."""
    try:
        return encode(value, "")
    except InvalidValueError:
        return encode(_softened(value, 8), "")


def _is_plain(value: Any, depth: int) -> bool:
    """Whether there is nothing to look at twice; false and exceptions both mean that the slow way must decide.

    NaN and lone surrogates are left to the encoder, which refuses them.
    """
    kind = type(value)
    if kind is dict:
        "".join(value)  # raises TypeError if a key is not a string, and is quicker than any loop
        value = value.values()
    elif kind is not list and kind is not tuple:
        value = (value,)
    for item in value:
        kind = type(item)
        if kind is str or item is None or kind is bool or kind is float:
            continue
        if kind is int:
            if not -MAX_SAFE <= item <= MAX_SAFE:
                return False
        elif (kind is dict or kind is list or kind is tuple) and depth:
            if not _is_plain(item, depth - 1):
                return False
        else:
            return False
    return True


def _find_offence(value: Any, path: str, depth: int, above: set[int]) -> None:
    """Walk in order and raise InvalidValueError at the first thing JSON cannot carry."""
    if isinstance(value, str):
        _check_text(value, path)
    elif value is None or isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if not -MAX_SAFE <= value <= MAX_SAFE:
            raise InvalidValueError(path, "an integer beyond ±(2^53-1) is not a JSON value")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidValueError(path, f"{value!r} is not a JSON value")
    elif isinstance(value, (dict, list, tuple)):
        _find_in_container(value, path, depth, above)
    else:
        raise InvalidValueError(path, f"{type(value).__name__} is not a JSON value")


def _find_in_container(value: Any, path: str, depth: int, above: set[int]) -> None:
    if id(value) in above:
        raise InvalidValueError(path, "contains itself")
    if not depth:
        raise InvalidValueError(path, f"nests over {MAX_DEPTH} deep")
    above.add(id(value))
    if isinstance(value, dict):
        for key, item in value.items():
            _check_key(key, path)
            _find_offence(item, f"{path}.{key}", depth - 1, above)
    else:
        for index, item in enumerate(value):
            _find_offence(item, f"{path}[{index}]", depth - 1, above)
    above.discard(id(value))


def _check_key(key: Any, path: str) -> None:
    if not isinstance(key, str):
        raise InvalidValueError(path, f"the key {_text_of(key)} is not a string")
    _check_text(key, f"{path}: a key")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValueError(
            path.encode(errors="replace").decode(), "a lone surrogate is not a JSON value"
        ) from None


def _softened(value: Any, depth: int) -> Any:
    """A copy of `value` that JSON can carry."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, (int, float)) and -MAX_SAFE <= value <= MAX_SAFE:
        return value
    if depth and isinstance(value, dict):
        return {_text_of(key): _softened(item, depth - 1) for key, item in list(value.items())}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_softened(item, depth - 1) for item in list(value)]
    return _text_of(value)


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    try:
        return repr(value).encode(errors="replace").decode()[:1000]
    except Exception:  # noqa: BLE001 - a repr may raise anything, and a log line must not
        return f"<{type(value).__name__}>"
