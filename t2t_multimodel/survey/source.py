"""The Python file of a problem over a table or another corpus."""

import json
import math
import os

from t2t_multimodel.registry import snake_case
from t2t_multimodel.survey import columns as kinds

_DEFAULT_SIZE, _DEFAULT_RATE = 64, 16000
_MOST_OWN_SIZE = 96  # pixels; pictures that all have one size of at most this keep it
METRICS_OF_SHORT_TEXTS = ("exact_match", "cer")  # BLEU counts runs of four words
_FEW_CLASSES = 5  # with so many, one of the first five is always right


def declaration(choice, layout, column, probe, *, picture_size=None, dev_percent=0.0, test_percent=0.0, folder="."):
    """The attributes of the problem's class, {name: Python source}, and the names of its modalities.

    Args:
      choice: a `Choice`.
      layout: a `Layout`.
      column: the `Column` of the targets.
      probe: a `Probe` of the inputs, or None.
      picture_size: pixels; None: that of the pictures if they are small and alike, else 64.
      folder: of the Python file, which `directory` is relative to.
    """
    attributes = {"directory": literal(relative(layout.directory, folder))}
    if layout.files:
        patterns = {split: names[0] if len(names) == 1 else names for split, names in layout.files.items()}
        attributes["files"] = literal(patterns)
    sides = {"inputs": choice.inputs, "targets": choice.targets} | choice.more
    attributes["columns"] = literal({role: name for role, name in sides.items() if name is not None})
    if layout.media_folder:
        attributes["media_folder"] = literal(layout.media_folder)
    for name in ("delimiter", "quoting", "header"):
        if getattr(layout.form, name) != type(layout.form).__dataclass_fields__[name].default:
            attributes[name] = literal(getattr(layout.form, name))
    inputs = _inputs(choice, probe, picture_size)
    targets = _targets(choice, column)
    attributes |= {"inputs": inputs, "targets": targets}
    if metrics := _metrics(choice, column):
        attributes["metrics"] = literal(metrics)
    if dev_percent:
        attributes["dev_percent"] = literal(dev_percent)
    if test_percent:
        attributes["test_percent"] = literal(test_percent)
    return attributes, sorted({word.partition("(")[0] for word in (inputs, targets) if word != "None"})


def write_source(name, description, attributes, modalities, base="Table"):
    """The text of the file, with a class derived from `base`."""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    if snake_case(class_name) != name:
        attributes = {"name": literal(name)} | attributes
    lines = [
        f'"""The problem {name}, written by t2t-new-problem; edit it as you like."""',
        "",
        *([f"from t2t_multimodel.modalities import {', '.join(modalities)}"] if modalities else []),
        f"from t2t_multimodel.problems import {base}",
        "from t2t_multimodel.registry import register_problem",
        "",
        "",
        "@register_problem",
        f"class {class_name}({base}):",
        f'    """{description}"""',
        "",
        *(f"    {key} = {value}" for key, value in attributes.items()),
    ]
    return "\n".join(lines) + "\n"


def are_short(texts):
    """Whether most of the texts have too few words for BLEU."""
    return sum(len(text.split()) < kinds.LONG_TEXT for text in texts) > len(texts) / 2


def literal(value):
    """A plain value as Python source, strings in double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(literal, value))
        return f"({inside},)" if isinstance(value, tuple) and len(value) == 1 else f"({inside})"
    if isinstance(value, str):
        plain = value.isprintable() and not set(value) & {'"', "\\"}
        return f'"{value}"' if plain else json.dumps(value) if value.isascii() else repr(value)
    return repr(value)


def relative(directory, folder):
    """The data's folder as the file says it: relative where both are in the same folder or below, else absolute."""
    base = os.path.realpath(folder)
    relative = os.path.relpath(os.path.realpath(directory), base)
    return relative if not relative.startswith(os.path.join("..", "..")) else str(directory)


def _inputs(choice, probe, picture_size):
    if choice.inputs is None:
        return "None"
    if choice.inputs_kind == kinds.PICTURE:
        width = height = picture_size or _DEFAULT_SIZE
        alike = probe and len(set(probe.sizes)) == 1 and max(probe.sizes[0]) <= _MOST_OWN_SIZE
        if alike and not picture_size:
            width, height = probe.sizes[0]
        channels = 1 if probe and probe.sizes and probe.grey == len(probe.sizes) else 3
        return f"Image({height}, {width}, {channels})"
    if choice.inputs_kind == kinds.RECORDING:
        rate = probe.rates.most_common(1)[0][0] if probe and probe.rates else _DEFAULT_RATE
        return f"Audio(rate={min(rate, _DEFAULT_RATE)})"
    return _text(choice.languages[0])


def _targets(choice, column):
    if choice.targets_kind == kinds.LABEL:
        return "Label()"
    if choice.targets_kind == kinds.NUMBER:
        mean, deviation = column.mean_and_deviation
        # Digits down to a thousandth of the deviation, from which targets are counted.
        digits = 6 if not deviation else max(6, math.ceil(math.log10(max(abs(mean) / deviation, 1.0))) + 3)
        mean, deviation = float(f"{mean:.{digits}g}"), float(f"{deviation:.6g}")
        return f"Numbers(({literal(choice.targets)},), mean=({mean!r},), scale=({deviation or 1.0!r},))"
    return _text(choice.languages[1])


def _text(language):
    return f"Text({literal(language)})" if language else "Text()"


def _metrics(choice, column):
    """The metrics, where the default of the targets does not suit; () where it does."""
    if choice.targets_kind == kinds.LABEL:
        return ("accuracy_top1",) if column.distinct <= _FEW_CLASSES else ()
    if choice.targets_kind == kinds.NUMBER:
        return ()
    if choice.inputs is None:
        return ("perplexity", "bits_per_character")
    if choice.inputs_kind == kinds.RECORDING:
        return ("cer", "wer")
    return () if column.long_texts >= column.filled / 2 else METRICS_OF_SHORT_TEXTS
