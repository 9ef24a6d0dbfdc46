"""What a problem scores without a model: the trivial baselines over an example store."""

from collections import Counter

import numpy as np

from t2t_multimodel import metrics
from t2t_multimodel.input.store import ExampleStore

_ROWS = 4096  # read at once


def baselines(data_dir, problem_name, split=None):
    """The better of the trivial answers (most frequent training target, copy of the input), for each metric.

    Args:
      split: the split that is scored; None: the problem's evaluation split.

    Returns:
      {metric: (value, "most_frequent" or "copy")}

    Raises:
      UserError: the data is missing or damaged.
    """
    store = ExampleStore(data_dir, problem_name)
    vocabulary = store.vocabulary()
    text = _reader(store.spec.targets, store, vocabulary)
    counts = Counter()
    for example in _examples(store.split("train")):
        counts[_key(example["targets"])] += 1
    train_targets = Counter()
    for key, count in counts.items():
        train_targets[text(_value(key))] += count

    copies = _reader(store.spec.inputs, store, vocabulary) if store.spec.inputs.modality == "text" else None
    inputs, references = [], []
    for example in _examples(store.split(split or store.evaluation_split)):
        references.append(example.get("references") or [text(example["targets"])])
        if copies:
            inputs.append(copies(example["inputs"]))
    scores = metrics.trivial_baselines(store.metrics, train_targets, inputs if copies else None, references)
    return metrics.best_trivial(store.metrics, scores)


def _examples(split):
    for start in range(0, len(split), _ROWS):
        yield from split.examples(np.arange(start, min(start + _ROWS, len(split))))


def _reader(spec, store, vocabulary):
    """A function from a stored side to its text."""
    if spec.modality == "label":
        return lambda value: store.classes[int(value)]
    return lambda value: vocabulary.decode(value)


def _key(targets):
    return int(targets) if np.ndim(targets) == 0 else np.asarray(targets, np.int32).tobytes()


def _value(key):
    return key if isinstance(key, int) else np.frombuffer(key, np.int32).tolist()
