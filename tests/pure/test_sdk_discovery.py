"""Which things in a file are handlers, what they are called with, and what is said of files that are wrong."""

from __future__ import annotations

import pathlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jobhost_sdk import Handler, handler
from jobhost_sdk.discovery import Loaded, LoadedHandler, forget_bundle, load_bundle, load_function
from jobhost_sdk.errors import ConfigurationError

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Iterator[Load]:
    """Write files and load them, in the order given: `load({"core/thumb": "…"})`, or `load(resize="…")`."""

    def write_and_load(folders: dict[str, str] | None = None, **files: str) -> Loaded:
        names = []
        for key, text in {**(folders or {}), **files}.items():
            name = f"{key}.py"
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
            if not path.name.startswith("_"):
                names.append(name)
        return load_bundle(str(tmp_path), names)

    yield write_and_load
    forget_bundle(str(tmp_path))


def only(loaded: Loaded) -> LoadedHandler:
    assert loaded.problems == []
    [handler] = loaded.handlers.values()
    return handler


def problem(loaded: Loaded) -> dict[str, Any]:
    [problem] = loaded.problems
    return problem


# Forms


def test_a_plain_function_named_handler(load: Load) -> None:
    """A2: the file's stem is the default name."""
    handler = only(load({"core/resize": "\ndef handler(job, ctx):\n    return [job, ctx]\n"}))
    assert (handler.name, handler.file, handler.line, handler.kind) == ("resize", "core/resize.py", 2, "sync")
    assert handler.call(1, 2) == [1, 2]
    assert handler.described() == {"name": "resize", "file": "core/resize.py", "line": 2, "kind": "sync"}


def test_a_plain_function_with_config(load: Load) -> None:
    """A3: name, description, version, author."""
    handler = only(
        load(
            a="""
            config = {"name": "image.resize", "queue": "images", "version": "2.0.0", "author": "Ada", "description": "d"}
            async def handler(job): return job
            """
        )
    )
    assert (handler.name, handler.kind) == ("image.resize", "async")
    assert handler.settings == {"queue": "images", "version": "2.0.0", "author": "Ada", "description": "d"}


def test_decorated_functions_several_in_a_file(load: Load) -> None:
    """A7: `@handler` with a name, with settings only, with empty parentheses and with none."""
    loaded = load(
        many="""
        from jobhost_sdk import handler

        @handler("one", queue="q", timeout="30s")
        def first(job): return "first"

        @handler(name="two")
        async def second(job): return "second"

        @handler()
        def many(job): return "by stem"
        """,
        bare="""
        from jobhost_sdk import handler

        @handler
        def anything(): return "bare"
        """,
    )
    assert loaded.problems == []
    assert {name: h.kind for name, h in loaded.handlers.items()} == {
        "one": "sync",
        "two": "async",
        "many": "sync",
        "bare": "sync",
    }
    assert loaded.handlers["one"].settings == {"queue": "q", "timeout": "30s"}
    assert loaded.handlers["bare"].call(1, 2) == "bare"


def test_a_decorated_function_stays_a_function(load: Load) -> None:
    from jobhost_sdk import handler

    @handler("double")
    def double(job: int) -> int:
        return job * 2

    assert double(4) == 8


def test_handler_classes(load: Load) -> None:
    """A10: a base class for processors: `class X(Handler): async def run(self, job, ctx)`."""
    loaded = load(
        shapes="""
        from jobhost_sdk import Handler, handler

        class Base(Handler):
            queue = "shapes"

        class Square(Base):
            name = "square"
            async def run(self, job, ctx): return "square"

        class Circle(Base):
            config = {"name": "circle", "timeout": "1m"}
            def run(self, job): return f"circle {job}"

        @handler("triangle")
        class Triangle(Base):
            def run(self): return "triangle"

        class _Hidden(Base):
            def run(self, job): return "no"
        """
    )
    assert loaded.problems == []
    assert {name: (h.kind, h.settings) for name, h in loaded.handlers.items()} == {
        "square": ("async", {"queue": "shapes"}),
        "circle": ("sync", {"queue": "shapes", "timeout": "1m"}),
        "triangle": ("sync", {"queue": "shapes"}),
    }
    assert loaded.handlers["circle"].call(7, None) == "circle 7"


def test_a_class_whose_name_is_not_given_takes_the_stem(load: Load) -> None:
    """One instance serves all runs."""
    handler = only(
        load(
            count="""
            from jobhost_sdk import Handler
            class Count(Handler):
                def __init__(self): self.n = 0
                def run(self, job):
                    self.n += 1
                    return self.n
            """
        )
    )
    assert (handler.name, handler.call(0, 0), handler.call(0, 0)) == ("count", 1, 2)


def test_wrapped_functions_keep_their_settings_and_kind(load: Load) -> None:
    handler = only(
        load(
            w="""
            import functools
            from jobhost_sdk import handler

            def retried(function):
                @functools.wraps(function)
                def wrapper(*arguments): return function(*arguments)
                return wrapper

            @retried
            @handler("wrapped", queue="q")
            async def original(job): return job
            """
        )
    )
    assert (handler.name, handler.kind, handler.settings) == ("wrapped", "async", {"queue": "q"})
    handler.call(3, None).close()  # a coroutine


@pytest.mark.parametrize(
    ("parameters", "want"),
    [
        ("", ()),
        ("job", ("job",)),
        ("job, ctx", ("job", "ctx")),
        ("*all", ("job", "ctx")),
        ("job, ctx, more=1", ("job", "ctx")),
        ("job, *, extra=None", ("job",)),
        ("job=None, ctx=None", ("job", "ctx")),
    ],
)
def test_a_handler_is_called_with_as_much_as_it_takes(load: Load, parameters: str, want: tuple[str, ...]) -> None:
    handler = only(load(h=f"def handler({parameters}):\n    return {{k: v for k, v in locals().items()}}\n"))
    values = [v for v in handler.call("job", "ctx").values() if v not in (1, None)]
    flat = tuple(x for v in values for x in (v if isinstance(v, tuple) else (v,)))
    assert flat == want


def test_objects_that_are_called(load: Load) -> None:
    handler = only(
        load(
            o="""
            class Call:
                async def __call__(self, job): return job
            handler = Call()
            """
        )
    )
    assert handler.kind == "async"


# What is not a handler


def test_files_without_handlers_are_ignored(load: Load) -> None:
    """Neither a handler nor a problem; an imported `handler` does not count."""
    loaded = load(
        constants="VALUE = 1",
        imports="from jobhost_sdk import handler, Handler",
        other="from elsewhere import handler",
        config_only='config = {"unknown": 1}',
        elsewhere="def helper(): pass\ndef handler(job): return 'mine'",
    )
    assert loaded.problems == []
    assert list(loaded.handlers) == ["elsewhere"]


def test_setup_and_teardown_count_where_they_are_defined(load: Load) -> None:
    """A9."""
    loaded = load(
        a="def setup(ctx): return ('a', ctx)\nasync def teardown(): return 'end'",
        b="from a import setup\ndef handler(): pass",
    )
    assert loaded.problems == []
    assert [hook(1) for hook in loaded.setups] == [("a", 1)]
    assert len(loaded.teardowns) == 1
    assert loaded.needs_loop


def test_a_bundle_of_sync_handlers_needs_no_loop(load: Load) -> None:
    assert not load(a="def handler(): pass\ndef setup(): pass").needs_loop
    assert load(b="async def handler(): pass").needs_loop


# Problems


def test_a_broken_file_does_not_stop_the_rest(load: Load) -> None:
    """A5: each with its file, its line and one line of text."""
    loaded = load(
        syntax="def handler(job):\n    return (1\n",
        missing="\nimport nothing_of_that_name\n",
        raises="def deep():\n    raise ValueError('two\\nlines')\n\ndeep()\n",
        leaves="import sys\nsys.exit(3)\n",
        good="def handler(): pass",
    )
    assert list(loaded.handlers) == ["good"]
    assert [(p["file"], p["line"], p["error"].split(":")[0]) for p in loaded.problems] == [
        ("syntax.py", 2, "SyntaxError"),
        ("missing.py", 2, "ModuleNotFoundError"),
        ("raises.py", 2, "ValueError"),
        ("leaves.py", 2, "SystemExit"),
    ]
    assert loaded.problems[2]["error"] == "ValueError: two lines"


def test_two_handlers_of_one_name_are_a_problem_that_names_both(load: Load) -> None:
    """A4: a later file does not silently win."""
    loaded = load({"a": "def handler(): return 'a'", "core/a": "\ndef handler(): return 'b'"})
    assert loaded.handlers["a"].call(0, 0) == "a"
    found = problem(loaded)
    assert (found["file"], found["line"]) == ("core/a.py", 2)
    assert found["error"] == "ConfigurationError: handler 'a' is defined twice: here and in a.py:1"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("config = {'qeue': 'q'}\ndef handler(): pass", "unknown setting 'qeue' of a handler; did you mean 'queue'?"),
        ("config = {1: 2}\ndef handler(): pass", "unknown setting 1 of a handler"),
        ("config = {'name': ''}\ndef handler(): pass", "not empty"),
        ("config = {'name': 7}\ndef handler(): pass", "is a str"),
        ("config = {'timeout': 3j}\ndef handler(): pass", "settings of 'h'.timeout: complex is not a JSON value"),
        ("config = {'input': 7}\ndef handler(): pass", "input is a JSON Schema (a dict) or a pydantic model"),
        ("config = {'input': {'type': 'nonsense'}}\ndef handler(): pass", "input is not a valid JSON Schema"),
        ("def handler(job, ctx, more): pass", "handler needs 3 arguments; it is called with (job, ctx)"),
        ("def handler(job, *, more): pass", "handler needs keyword arguments"),
        ("def setup(ctx, more): pass", "setup needs 2 arguments; it is called with (ctx)"),
        ("from jobhost_sdk import handler\n@handler('x', qeue='q')\ndef f(): pass", "did you mean 'queue'?"),
        ("from jobhost_sdk import handler\n@handler(7)\ndef f(): pass", "the name of a handler is a str, not int"),
        ("from jobhost_sdk import handler\n@handler('x')\nclass F: pass", "is no subclass of Handler"),
        (
            "from jobhost_sdk import Handler\nclass X(Handler):\n    def __init__(self, a): pass\n    def run(self): pass",
            "TypeError",
        ),
    ],
)
def test_wrong_settings_are_problems(load: Load, text: str, error: str) -> None:
    found = problem(load(h=text))
    assert found["file"] == "h.py"
    assert error in found["error"]


# Imports


def test_a_handler_file_shadows_nothing(load: Load) -> None:
    loaded = load(
        email="def handler(): return 'mine'",
        user="import email.message\ndef handler(): return email.message.__name__",
    )
    assert loaded.problems == []
    assert loaded.handlers["user"].call(0, 0) == "email.message"
    assert loaded.handlers["email"].call(0, 0) == "mine"


def test_files_import_their_neighbours(load: Load) -> None:
    loaded = load(
        {"_shared": "VALUE = 41", "deep/er": "from _shared import VALUE\ndef handler(): return VALUE + 1"},
    )
    assert only(loaded).call(0, 0) == 42


def test_files_of_a_package_use_relative_imports(load: Load, tmp_path: pathlib.Path) -> None:
    loaded = load(
        {
            "pack/__init__": "NAME = 'pack'",
            "pack/_shared": "VALUE = 1",
            "pack/inner/__init__": "",
            "pack/inner/job": """
                from .._shared import VALUE
                from .. import NAME
                def handler(): return [NAME, VALUE, __name__]
                """,
        }
    )
    assert only(loaded).call(0, 0) == ["pack", 1, "pack.inner.job"]


def test_a_package_named_like_the_standard_library_shadows_nothing(load: Load) -> None:
    loaded = load(
        {
            "email/__init__": "",
            "email/_own": "VALUE = 'own'",
            "email/send": "from ._own import VALUE\ndef handler(): return VALUE",
        },
        other="import email.message\ndef handler(): return email.message.Message.__name__",
    )
    assert loaded.problems == []
    assert loaded.handlers["send"].call(0, 0) == "own"
    assert loaded.handlers["other"].call(0, 0) == "Message"


def test_a_broken_package_is_a_problem_of_its_files(load: Load) -> None:
    loaded = load({"pack/__init__": "1/0", "pack/job": "def handler(): pass"})
    assert problem(loaded)["error"].startswith("ZeroDivisionError")
    assert "pack" not in sys.modules


def test_dataclasses_and_pickle_find_the_module(load: Load) -> None:
    handler = only(
        load(
            p="""
            import pickle
            from dataclasses import dataclass

            @dataclass
            class Point:
                x: int

            def handler(): return pickle.loads(pickle.dumps(Point(3))).x
            """
        )
    )
    assert handler.call(0, 0) == 3


def test_an_edited_file_is_loaded_anew_within_the_same_second(load: Load, tmp_path: pathlib.Path) -> None:
    """M1: Python's own cache would keep what was edited to the same size within a second."""
    for version in range(5):
        loaded = load(
            _shared=f"VALUE = {version}", h=f"from _shared import VALUE\ndef handler(): return [VALUE, {version}]"
        )
        assert only(loaded).call(0, 0) == [version, version]
        forget_bundle(str(tmp_path))
        assert not [path for path in sys.path if path == str(tmp_path)]


def test_two_bundles_in_one_process_do_not_mix(tmp_path: pathlib.Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name / "handlers"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "h.py").write_text(f"from . import __name__ as p\ndef handler(): return '{name}'\n")
    first = load_bundle(str(tmp_path / "a" / "handlers"), ["h.py"])
    second = load_bundle(str(tmp_path / "b" / "handlers"), ["h.py"])
    assert (only(first).call(0, 0), only(second).call(0, 0)) == ("a", "b")
    for name in ("a", "b"):
        forget_bundle(str(tmp_path / name / "handlers"))


def test_functions_registered_from_code() -> None:
    """A7, A10: functions, decorated or not, and classes with their attributes; what is given counts over their own."""

    def task(job: Any) -> str:
        return "done"

    @handler("image.resize", queue="images", attempts=4)
    async def decorated(job: Any) -> str:
        return "done"

    class Resize(Handler):
        name = "resize"
        queue = "images"

        def run(self, job: Any, ctx: Any) -> str:
            return "resized"

    plain = load_function(task, {"queue": "q"})
    assert (plain.name, plain.settings, plain.kind) == ("task", {"queue": "q"}, "sync")
    assert plain.file == __file__
    marked = load_function(decorated, {"queue": "mine"})
    assert (marked.name, marked.settings, marked.kind) == ("image.resize", {"queue": "mine", "attempts": 4}, "async")
    made = load_function(Resize, {})
    assert (made.name, made.settings, made.call(0, 0)) == ("resize", {"queue": "images"}, "resized")
    with pytest.raises(ConfigurationError, match="no subclass of Handler"):
        load_function(object, {})
