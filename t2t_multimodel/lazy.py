"""`keras.ops`, imported at its first use: for modules that a command's `--registry_help` imports too."""

import importlib


class _LazyModule:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self._name), attribute)


ops = _LazyModule("keras.ops")
