"""Where and when a run was trained: machine, versions, dates; for reports.

Names of hosts, users and folders are no part of it: a report is something to pass on.
"""

import datetime
import importlib.metadata
import os
import platform

from t2t_multimodel import machine
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import ANY, read_json
from t2t_multimodel.startup import processors

_PACKAGES = ("t2t-multimodel", "keras", "tensorflow", "jax", "numpy", "sentencepiece", "sacrebleu")
_MOST_BYTES = 1 << 22


def describe():
    """What this process runs on, {name: text}, ready to be shown."""
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": str(processors()),
        "memory": f"{machine.memory() / 2**30:.0f} GiB",
        "devices": _devices(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": os.environ.get("KERAS_BACKEND", ""),
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return {name: text for name, text in facts.items() if text}


def read(path):
    """The entries of an `environment.json`, oldest first; [] where none was written or the file is damaged."""
    try:
        entries = read_json(path, [ANY], limit=_MOST_BYTES)
    except UserError:
        return []
    return [{str(k): str(v) for k, v in entry.items()} for entry in entries if isinstance(entry, dict)]


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def _devices():
    import keras

    return ", ".join(keras.distribution.list_devices())
