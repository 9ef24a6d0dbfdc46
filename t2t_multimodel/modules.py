"""Modules as another process imports them: by name, else by the file that they were read from.

So classes of a user's folder, of a package that is not installed and of a test are found by worker processes too.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Module: TypeAlias = tuple[str, str, tuple[str, ...] | None]  # name, file, folders of sub-modules; not those: None


def with_packages(name: str) -> Iterator[Module]:
    """Yields the packages of an imported module, then the module itself; nothing of `__main__`."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file and name != "__main__":
            inside = getattr(module, "__path__", None)
            yield name, file, inside and tuple(inside)


def import_all(modules: Iterable[Module]) -> None:
    """Imports what `with_packages` gave in another process."""
    for name, file, inside in modules:
        _import(name, file, inside)


def _import(name: str, file: str, inside: tuple[str, ...] | None) -> None:
    if name in sys.modules:
        return
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside and list(inside))
        if spec is None or spec.loader is None:
            raise
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
