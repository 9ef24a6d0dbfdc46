"""The trivial baselines of a problem: scores without a model, computed from its example store."""

from collections import Counter
from collections.abc import Hashable

import numpy as np

from t2t_multimodel import metrics
from t2t_multimodel.input.store import ExampleStore

MOST_EXAMPLES = 200_000  # of train that are looked at, evenly spread; as many tell which answer is the most frequent
MOST_BYTES = 2**30  # of them: recordings and pictures are stored beside their targets


def baselines(data_dir, problem_name, split=None):
    """For each metric the best of the trivial answers of its kind, see `metrics.trivial_baselines`.

    They are learnt from train: all of it, or of a large one an even sample (`MOST_EXAMPLES`, `MOST_BYTES`).

    Args:
      split: the split that is scored; None: the problem's evaluation split.

    Returns:
      {metric: (value, name of the trivial answer)}, the headline first; (None, "") of metrics without trivial answers:
      those that are teacher-forced.

    Raises:
      UserError: the data is missing or damaged.
    """
    store = ExampleStore(data_dir, problem_name)
    if not metrics.decoded(store.metrics):
        return dict.fromkeys(store.metrics, (None, ""))
    vocabulary = store.vocabulary()
    targets, inputs = store.spec.targets, store.spec.inputs
    train_targets = _train_targets(store, vocabulary)
    copies, references = [], []
    scored = store.split(split or store.evaluation_split)
    for example in scored.each(np.arange(len(scored)), ("inputs", "targets") if inputs.is_text else ("targets",)):
        references.append(example.get("references") or [targets.reference(example["targets"], vocabulary)])
        if inputs.is_text:
            copies.append(inputs.reference(example["inputs"], vocabulary))
    scores = metrics.trivial_baselines(store.metrics, train_targets, copies or None, references)
    best = metrics.best_trivial(store.metrics, scores)
    return {name: best.get(name, (None, "")) for name in store.metrics}


def _sample(split):
    """The rows that are looked at, in order."""
    rows = np.arange(len(split))
    share = MOST_BYTES / max(1, split.stored_bytes(rows))
    count = max(1, min(len(rows), MOST_EXAMPLES, int(len(rows) * share)))
    return rows if count >= len(rows) else np.linspace(0, len(rows) - 1, count).astype(np.int64)


def _train_targets(store, vocabulary):
    """The right answers of the train split: a `Counter` of them, or a list of those that can't be counted (arrays)."""
    train = store.split("train")
    reference = store.spec.targets.reference
    stored, counts, others = {}, Counter(), []  # equal ones are decoded once
    for example in train.each(_sample(train), ("targets",)):
        target = example["targets"]
        if isinstance(target, dict):
            others.append(reference(target, vocabulary))
            continue
        key = np.asarray(target).tobytes()
        if key not in stored:
            stored[key] = np.array(target)  # a copy: a view keeps all that was read with it
        counts[key] += 1
    answers = [(reference(target, vocabulary), counts[key]) for key, target in stored.items()]
    if others or not all(isinstance(answer, Hashable) for answer, _ in answers):
        return others + [answer for answer, count in answers for _ in range(count)]
    total = Counter()
    for answer, count in answers:
        total[answer] += count
    return total
