"""Stands before a child's script so that its lines are counted: `python -I -S covered.py BOOT ARGUMENT…`.

A child runs without `site`, so what counts the processes that tests start does not see it. The coverage package is
imported from its own folder and hidden again: the child's world stays as it is.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PACKAGE = os.environ["TESTS_COVERAGE_PACKAGE"]
"""The folder of the coverage package."""
DATA = os.environ["COVERAGE_FILE"]


def begin(sdk: str) -> None:
    sys.path.append(os.path.dirname(PACKAGE))
    import coverage
    import coverage.sqldata

    counted = coverage.Coverage(data_file=DATA, data_suffix=True, branch=True, source=[sdk], config_file=False)
    counted.start()
    sys.path.remove(os.path.dirname(PACKAGE))
    for variable in ("TESTS_COVERAGE_PACKAGE", "COVERAGE_FILE"):
        del os.environ[variable]

    count_threads()

    def save() -> None:
        counted.stop()
        sys.path.append(os.path.dirname(PACKAGE))
        counted.save()

    atexit.register(save)  # a child that ends by os._exit, or is killed, is not counted


def count_threads() -> None:
    """Threads that were started without `threading` are not counted by themselves before Python 3.12."""
    start = _thread.start_new_thread

    def counted(function: Any, arguments: Any, named: Any = None) -> int:
        def run(*given: Any, **more: Any) -> None:
            sys.settrace(threading.gettrace())
            function(*given, **more)

        return start(run, arguments, named or {})

    _thread.start_new_thread = counted


boot = sys.argv[1]
begin(os.path.dirname(os.path.dirname(boot)))
del sys.argv[0]
space = sys.modules["__main__"].__dict__
space["__file__"] = boot
with open(boot, "rb") as file:
    code = compile(file.read(), boot, "exec")
exec(code, space)
