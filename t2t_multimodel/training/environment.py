"""Where and when a run was trained: machine, versions, dates; kept in the run directory, for reports.

`environment.json` is a list, an entry for each time that training was started or went on. Names of hosts, users and
folders are no part of it: a report is something to pass on.
"""

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path

from t2t_multimodel.files import write_file
from t2t_multimodel.startup import processors

ENVIRONMENT_FILE = "environment.json"
_PACKAGES = ("t2t-multimodel", "keras", "tensorflow", "jax", "numpy", "sentencepiece", "sacrebleu")
_MOST_ENTRIES = 50  # the first and the newest are kept


def describe():
    """What this process runs on, {name: text}, ready to be shown."""
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": str(processors()),
        "memory": _memory(),
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


def record(output_dir, step):
    """Adds this process to a run's `environment.json`; `step` is where its training starts."""
    entries = read(output_dir) + [describe() | {"from step": str(step)}]
    kept = entries if len(entries) <= _MOST_ENTRIES else [entries[0], *entries[1 - _MOST_ENTRIES :]]
    write_file(Path(output_dir) / ENVIRONMENT_FILE, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())


def read(output_dir):
    """The entries of a run, oldest first; [] where none was written or the file is damaged ."""
    try:
        entries = json.loads((Path(output_dir) / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(entries, list):
        return []
    return [{str(k): str(v) for k, v in entry.items()} for entry in entries if isinstance(entry, dict)]


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def _memory():
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return ""


def _devices():
    import keras

    return ", ".join(keras.distribution.list_devices())
