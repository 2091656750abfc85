"""What can be known of a callable before it is called: is it asynchronous, and does it take `(job, ctx)`.

`inspect` answers both, for 10 ms of import. Plain functions and methods answer by their code object; only what is
wrapped or odd is given to `inspect`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_COROUTINE = 0x80  # inspect.CO_COROUTINE
_ITERABLE_COROUTINE = 0x100
_VARARGS = 0x04
MOST = 2


def is_async(target: Callable[..., Any]) -> bool:
    """Whether calling `target` gives something to await. A wrapper made with `functools.wraps` counts as what it wraps."""
    seen = 0
    while target is not None and seen < 100:
        code = _code(target)
        if code is not None and code.co_flags & (_COROUTINE | _ITERABLE_COROUTINE):
            return True
        target = getattr(target, "__wrapped__", None) or getattr(target, "func", None)  # type: ignore[assignment]
        seen += 1
    return False


def adapted(target: Callable[..., Any], most: int = MOST) -> Callable[..., Any]:
    """Give `target` as a callable of exactly `most` arguments, which gets as many of them as it takes.

    Raises TypeError if it needs more.
    """
    takes = _takes(target, most)
    if takes == most:
        return target
    if takes == 0:
        return lambda *_: target()
    return lambda *arguments: target(*arguments[:takes])


def _takes(target: Callable[..., Any], most: int) -> int:
    code = _code(target)
    if code is None or hasattr(target, "__wrapped__"):
        return _takes_by_signature(target, most)
    bound = 1 if _is_bound(target) else 0
    positional = code.co_argcount - bound
    needs = positional - len(_function(target).__defaults__ or ())
    keyword_only = code.co_kwonlyargcount - len(_function(target).__kwdefaults__ or ())
    _check(target, needs, keyword_only, most)
    return most if code.co_flags & _VARARGS else min(positional, most)


def _takes_by_signature(target: Callable[..., Any], most: int) -> int:
    import inspect

    try:
        parameters = list(inspect.signature(target).parameters.values())
    except ValueError:  # a builtin that does not say
        return most
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in positional if p.default is p.empty]
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    _check(target, len(needed), len(keyword_only), most)
    return most if any(p.kind is p.VAR_POSITIONAL for p in parameters) else min(len(positional), most)


def _check(target: Callable[..., Any], needs: int, keyword_only: int, most: int) -> None:
    name = getattr(target, "__qualname__", repr(target))
    gets = "(job, ctx)" if most == MOST else "(ctx)"
    if needs > most:
        raise TypeError(f"{name} needs {needs} arguments; it is called with {gets}")
    if keyword_only > 0:
        raise TypeError(f"{name} needs keyword arguments; it is called with {gets}")


def _function(target: Any) -> Any:
    """The function behind a method or an instance with `__call__`."""
    inner = getattr(target, "__func__", None)
    if inner is None and not hasattr(target, "__code__"):
        inner = getattr(type(target), "__call__", None)  # noqa: B004 - its code is wanted, not whether it is there
    return inner if inner is not None else target


def _code(target: Any) -> Any:
    return getattr(_function(target), "__code__", None)


def _is_bound(target: Any) -> bool:
    return _function(target) is not target
