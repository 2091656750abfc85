"""How the files of a bundle become modules.

A file in a package folder is imported as part of that package, so that relative imports work; any other is loaded under
a private name, so that a handler file called `email.py` shadows nothing. The bundle's root goes to the end of sys.path:
`from _shared import x` works, the standard library and the environment come first.
"""

from __future__ import annotations

import os
import sys

# The halves of importlib that are part of the interpreter; `importlib.util` costs a child some milliseconds.
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    spec_from_file_location,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


class FreshSource(SourceFileLoader):
    """Source whose compiled form is kept by microseconds, not seconds.

    A file that is edited twice within one second, to the same size, would otherwise be reloaded as it was.
    """

    def path_stats(self, path: Any) -> dict[str, Any]:
        stat = os.stat(path)
        return {"mtime": stat.st_mtime_ns // 1000, "size": stat.st_size}


class BundleModules:
    """Imports the files of one bundle. `root`: an absolute path."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._prefix = f"_jobhost_{_digest(self._root)}"

    def prepare(self) -> None:
        """Let the bundle's files import their neighbours."""
        self._drop_hooks()
        sys.path_hooks.insert(0, self._finder)
        if self._root not in sys.path:
            sys.path.append(self._root)

    def forget(self) -> None:
        """Undo `prepare` and drop the modules of this bundle, so that the next load sees the files as they are."""
        self._drop_hooks()
        if self._root in sys.path:
            sys.path.remove(self._root)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and self._holds(os.path.realpath(file)):
                del sys.modules[name]

    def _drop_hooks(self) -> None:
        for hook in list(sys.path_hooks):
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, BundleModules) and owner._root == self._root:
                sys.path_hooks.remove(hook)
        for path in [path for path in sys.path_importer_cache if self._holds(path)]:
            del sys.path_importer_cache[path]

    def load(self, file: str) -> ModuleType:
        """Import `file`, a path relative to the root. Raises whatever its code raises."""
        path = os.path.join(self._root, file)
        package = self._package_of(os.path.dirname(path))
        stem = os.path.splitext(os.path.basename(path))[0]
        if package:
            name = package if stem == "__init__" else f"{package}.{stem}"
            __import__(name)
            return sys.modules[name]
        # Without dots, or pickle would look for a parent.
        return _run_file(f"{self._prefix}/{os.path.splitext(file)[0].replace('.', '_')}", path)

    def _package_of(self, folder: str) -> str:
        """Give the name of the package `folder` is, importing its outermost one; empty if it is none."""
        names: list[str] = []
        top = folder
        while _is_package(folder):
            names.insert(0, os.path.basename(folder))
            top, folder = folder, os.path.dirname(folder)
        if not names:
            return ""
        names[0] = self._outermost(names[0], top)
        return ".".join(names)

    def _outermost(self, name: str, folder: str) -> str:
        """Import the package in `folder` under its own name where that is free, else under a private one."""
        private = f"{self._prefix}_{name}"
        if private in sys.modules:
            return private
        start = os.path.join(folder, "__init__.py")
        known = sys.modules.get(name)
        origin = _origin(name) if known is None else getattr(known, "__file__", None) or "built-in"
        if origin is not None and os.path.realpath(origin) != start:
            name = private  # the name belongs to another module, such as the standard library's `email`
        elif known is not None:
            return name
        _run_file(name, start, [folder])
        return name

    def _holds(self, path: str) -> bool:
        """Whether a path is the bundle's own code, not an environment that lies within."""
        inside = path == self._root or path.startswith(self._root + os.sep)
        return inside and f"{os.sep}site-packages" not in path[len(self._root) :]

    def _finder(self, path: str) -> Any:
        if not self._holds(os.path.realpath(path)):
            raise ImportError(path)
        return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (FreshSource, [".py"]))


def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))


def _digest(text: str) -> str:
    """Eight characters that tell the roots apart that one host holds."""
    from zlib import crc32

    return f"{crc32(text.encode(errors='surrogateescape')):08x}"


def _origin(name: str) -> str | None:
    """Where `import name` would find its module; `built-in` and the like for those without a file."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, None) if find else None
        if spec is not None:
            return spec.origin or "namespace"
    return None


def _run_file(name: str, path: str, search: list[str] | None = None) -> ModuleType:
    spec = spec_from_file_location(name, path, loader=FreshSource(name, path), submodule_search_locations=search)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
