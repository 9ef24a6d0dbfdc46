"""Made-up results of suites blocks, efficiency and balancing, without a training: for tests of their pages."""

import numpy as np

from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.results import Results, Score
from t2t_multimodel.metrics import value_of

PROBLEMS = ("my_trees", "my_words", "my_sounds")
METRICS = {"my_trees": ["exact_match"], "my_words": ["exact_match"], "my_sounds": ["cer"]}
JOINT = plan.Kind(plan.JOINT, PROBLEMS)
EXAMPLES = 400


def score(metric, right, memory=2**30):
    """`right` of 400 examples; of an error rate so many wrong."""
    sums = np.array([[int(i < right), 1] for i in range(EXAMPLES)], float)
    value = value_of(metric, sums.sum(axis=0))
    return Score(value, sums, "keys", 640, 20.0, "test", "greedy", 1_000_000, memory)


def measured(suite, kinds, rights, **more):
    """`Results` of three seeds. rights: {kind: examples right of 400}; my_sounds has as many errors in 400."""
    scores, curves = {}, []
    for kind in kinds:
        for place, (problem, (metric,)) in enumerate(METRICS.items()):
            right = rights.get(kind.name, 200)
            amount = EXAMPLES - right if metric == "cer" else right
            by_seed = {seed: score(metric, amount + seed * (place - 1)) for seed in range(3)}
            scores.setdefault(kind.name, {})[problem] = {metric: by_seed}
            for seed in range(3):
                for point in (1, 2, 3):
                    value = by_seed[seed].value * (point if metric != "cer" else 1) / 3
                    line = {"kind": kind.name, "seed": seed, "problem": problem, "split": "dev", "step": point}
                    curves.append(line | {"train_seconds": 6.0 * point, "examples_seen": 99 * point, metric: value})
    run = {"problems": list(PROBLEMS), "digest": "d", "changes": {}, "steps": 100}
    setup = {
        "suite": suite,
        "problems": list(PROBLEMS),
        "roles": {},
        "metrics": METRICS,
        "joint_steps": 100,
        "seeds": 3,
        "workers": 2,
        "budget_seconds": None,
        "flags": [],
        "hparams": "",
        "identity": {"backend": "tensorflow"},
        "shares": {p: 1 / 3 for p in PROBLEMS},
        "train_examples": {p: 500 for p in PROBLEMS},
        "runs": [{**run, "kind": kind.name, "seed": seed} for seed in range(3) for kind in kinds],
        **more,
    }
    return Results(setup, scores, curves, [], [])
