"""A finished suite of two made-up problems on disk, without a training: for tests of what reads a suite's files."""

import json

import numpy as np

from t2t_multimodel.experiments import plan, stored
from t2t_multimodel.metrics import value_of

PROBLEMS = ("tiny_parse", "tiny_image")
METRICS = {"tiny_parse": ["exact_match"], "tiny_image": ["accuracy_top1"]}
EXAMPLES = 12


def write(folder):
    """Writes plan.json, and the result.json, metrics.jsonl and environment.json of each run; returns `folder`."""
    kinds = plan.kinds_of("transfer", PROBLEMS, {})
    runs = [
        {
            "kind": kind.name,
            "problems": list(kind.problems),
            "seed": seed,
            "steps": 100,
            "digest": f"{number:02d}{seed}",
            "changes": {"learning_rate_warmup_steps": 3},
        }
        for number, kind in enumerate(kinds)
        for seed in range(2)
    ]
    tries = {"problem": "tiny_parse", "metric": "exact_match", "split": "dev", "best": "no change"}
    setup = {
        "suite": "transfer",
        "problems": list(PROBLEMS),
        "roles": {"parsing": "tiny_parse"},
        "metrics": METRICS,
        "joint_steps": 100,
        "seeds": 2,
        "workers": 2,
        "budget_seconds": 600.0,
        "flags": ["--model=multimodel"],
        "hparams": "",
        "identity": {"backend": "tensorflow"},
        "shares": {p: 0.5 for p in PROBLEMS},
        "choices": {"tiny_parse alone": {**tries, "tries": {"no change": 0.5, "dropout=0.1": None}}},
        "train_examples": {p: 500 for p in PROBLEMS},
        "runs": runs,
    }
    (folder / "runs").mkdir(parents=True)
    (folder / stored.PLAN_FILE).write_text(json.dumps(stored.sealed(setup)))
    for run in runs:
        own = folder / "runs" / run["digest"]
        own.mkdir()
        (own / "result.json").write_text(json.dumps(stored.sealed(_result(run))))
        (own / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in _log(run)))
        (own / "environment.json").write_text(json.dumps([{"processor": "an abacus"}]))
    return folder


def _result(run):
    scores = {}
    for place, problem in enumerate(run["problems"]):
        (metric,) = METRICS[problem]
        sums = [[int(i < 5 + place + run["seed"]), 1] for i in range(EXAMPLES)]
        scores[problem] = {
            "split": "test",
            "decoding": "greedy",
            "examples": EXAMPLES,
            "keys": [f"k{i}" for i in range(EXAMPLES)],
            "scores": {metric: value_of(metric, np.sum(sums, axis=0))},
            "sums": {metric: sums},
        }
    loads = {problem: {"encoder": {"load": [0.75, 0.25]}} for problem in run["problems"]}
    probe = {"step": 100, "problems": list(PROBLEMS), "cosines": [[0.5, None], [None, 0.5]], "loads": loads}
    return {
        "steps": 100,
        "examples_seen": dict.fromkeys(run["problems"], 800),
        "train_seconds": 12.5,
        "scores": scores,
        **({"probes": [probe]} if run["kind"] == plan.JOINT else {}),
    }


def _log(run):
    for point, seconds in enumerate((2.0, 6.0, 12.5)):
        for problem in run["problems"]:
            common = {"step": 30 * point, "problem": problem, "examples_seen": 200 * point}
            yield {**common, "split": "train", "share_planned": 0.5, "share_actual": 0.5, "loss": 1.0}
            yield {**common, "split": "dev", "train_seconds": seconds, METRICS[problem][0]: 0.2 * point}
