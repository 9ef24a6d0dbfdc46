"""The trivial baselines of a problem: scores without a model, computed from its example store."""

from collections import Counter

import numpy as np

from t2t_multimodel import metrics
from t2t_multimodel.input.store import ExampleStore

_ROWS = 4096  # read at once


def baselines(data_dir, problem_name, split=None):
    """The better of the two trivial answers (most frequent training target, copy of the input), for each metric.

    Args:
      split: the split that is scored; None: the problem's evaluation split.

    Returns:
      {metric: (value, "most_frequent" or "copy")}, the headline first; (None, "") of metrics without trivial answers:
      those that are teacher-forced.

    Raises:
      UserError: the data is missing or damaged.
    """
    store = ExampleStore(data_dir, problem_name)
    if not metrics.decoded(store.metrics):
        return dict.fromkeys(store.metrics, (None, ""))
    vocabulary = store.vocabulary()
    targets, inputs = store.spec.targets, store.spec.inputs
    counts = Counter(_key(example["targets"]) for example in _examples(store.split("train")))
    train_targets = Counter()
    for key, count in counts.items():
        train_targets[targets.reference(_value(key), vocabulary)] += count
    copies, references = [], []
    for example in _examples(store.split(split or store.evaluation_split)):
        references.append(example.get("references") or [targets.reference(example["targets"], vocabulary)])
        if inputs.uses_vocabulary:
            copies.append(inputs.reference(example["inputs"], vocabulary))
    scores = metrics.trivial_baselines(store.metrics, train_targets, copies or None, references)
    best = metrics.best_trivial(store.metrics, scores)
    return {name: best.get(name, (None, "")) for name in store.metrics}


def _examples(split):
    for start in range(0, len(split), _ROWS):
        yield from split.examples(np.arange(start, min(start + _ROWS, len(split))))


def _key(targets):
    return int(targets) if np.ndim(targets) == 0 else np.asarray(targets, np.int32).tobytes()


def _value(key):
    return key if isinstance(key, int) else np.frombuffer(key, np.int32)
