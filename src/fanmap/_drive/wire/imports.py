"""Being told when a module has been imported: a client that a call itself imports is seen from its first request.

One finder at the head of `sys.meta_path`: it finds nothing of its own, and only for the names it was given does it put
itself between a module's loader and its execution, once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from typing_extensions import override

from fanmap._drive.notices import logger


def call_after_import(names: frozenset[str], callback: Callable[[], None]) -> None:
    """From now on, call this after each of these modules has been imported."""
    sys.meta_path.insert(0, _Finder(names, callback))


class _Finder(MetaPathFinder):
    def __init__(self, names: frozenset[str], callback: Callable[[], None]) -> None:
        self._names = names
        self._callback = callback
        self._under_way: set[tuple[int, str]] = set()  # by thread: another one of this kind asks this one in turn

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        asked = threading.get_ident(), fullname
        if fullname not in self._names or asked in self._under_way:
            return None
        self._under_way.add(asked)
        try:
            for finder in sys.meta_path:
                find = None if finder is self else getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
                if spec is not None:
                    if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                        spec.loader = _Telling(spec.loader, self._callback)
                    return spec
            return None
        finally:
            self._under_way.discard(asked)


class _Telling(Loader):
    """A loader that tells when it has executed the module, which by then has its own loader again."""

    def __init__(self, loader: Any, callback: Callable[[], None]) -> None:
        self._loader = loader
        self._callback = callback

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    @override
    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:
            self._callback()
        except Exception as failure:  # nobody's import fails of us
            logger.debug("an import could not be inspected: %s", type(failure).__name__)
