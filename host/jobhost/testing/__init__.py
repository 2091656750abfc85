"""For tests of your own handlers: the real engine, in memory, where time passes at once.

def test_mail(jobhost):                     # a fixture of the pytest plugin; elsewhere `with TestHost() as jobhost:`
    jobhost.register(send_mail)
    job = jobhost.enqueue("send_mail", {"to": "ada@example.org"})
    jobhost.run_until_idle()
    assert job.result == {"sent": True}

Names are imported when first used: the plugin is loaded into every run of pytest, and this package only where it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .emits import Emitted
    from .flow import TestFlow
    from .host import TestHost
    from .job import TestJob

__all__ = ["Emitted", "TestFlow", "TestHost", "TestJob"]

_HOMES = {"Emitted": "emits", "TestFlow": "flow", "TestHost": "host", "TestJob": "job"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("." + _HOMES[name], __name__), name)
