"""What a run of a suite measures besides training: test scores by example, gradients and experts, and its own speed."""

import time

import numpy as np

from t2t_multimodel import metrics
from t2t_multimodel.problem import TEACHER_FORCED
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.affinity import gradient_cosines
from t2t_multimodel.training.observing import expert_load
from t2t_multimodel.training.optimizer import learning_rate
from t2t_multimodel.training.run import load_variables

PROBED_CHECKPOINTS = 3  # first, middle and last of those kept
TIMED_UPDATES = 10  # of each problem, after the one that traces
TIMED_BATCHES = 2  # of an evaluation


def test_scores(trainer):
    """The scores of a trained run on each problem's test split, by example.

    Returns:
      {problem: {"split", "examples": number, "keys": list, "scores": {metric: value},
                 "sums": {metric: for each example a list, see metrics/},
                 "predictions": for each example the text, of classes the likeliest five}}, examples in order of keys.
    """
    measured = {}
    for name, store in trainer.stores.items():
        examples = []
        scores = trainer.evaluator.evaluate(store, store.evaluation_split, examples=examples)
        examples.sort(key=lambda example: example["key"])
        predictions = [example["prediction"] for example in examples]
        names = metrics.comparable(store.metrics)
        decoded = metrics.decoded(names)
        forced = dict.fromkeys((*TEACHER_FORCED, *(name for name in names if name not in decoded)))
        sums = metrics.example_sums(decoded, predictions, [e["references"] for e in examples])
        sums |= metrics.teacher_forced_example_sums([example["teacher_forced"] for example in examples], forced)
        measured[name] = {
            "split": scores["split"],
            "decoding": scores.get("decoding"),
            "examples": len(examples),
            "keys": [example["key"] for example in examples],
            "scores": {metric: scores[metric] for metric in sums},
            "sums": sums,
            "predictions": [p if isinstance(p, str) else list(p)[:5] for p in predictions],
        }
    return measured


def dev_scores(trainer):
    """{problem: what the `Evaluator` says of it} on the whole dev split, or on the test split where there is no dev."""
    return {
        name: trainer.evaluator.evaluate(store, "dev" if "dev" in store.manifest["splits"] else store.evaluation_split)
        for name, store in trainer.stores.items()
    }


def probes(trainer):
    """Gradients between problems and use of experts, at some of the checkpoints that the run has kept.

    Leaves the model with the weights of the last of them.

    Returns:
      a list of {"step", "problems", "cosines", "loads": {problem: {"encoder": {"load": [experts], …}, …}}}.
    """
    folder = trainer.output_dir / "checkpoints"
    specs = {name: problem.spec for name, problem in trainer.run_record.problems.items()}
    found = []
    # Where a run was stopped there is a checkpoint too, at a step that other seeds have none of.
    regular = [s for s in checkpoints.steps(folder) if s % trainer.settings.save_interval == 0 or s == trainer.step]
    for step in _some(regular, PROBED_CHECKPOINTS):
        load_variables(trainer.model.variables, checkpoints.load(folder, step).arrays, folder)
        loads = {}
        for name, store in trainer.stores.items():
            split = "dev" if "dev" in store.manifest["splits"] else store.evaluation_split
            used = expert_load(trainer.model, trainer.hparams, store, split)
            loads[name] = {part: {k: v.tolist() for k, v in kinds.items()} for part, kinds in used.items()}
        cosines = gradient_cosines(trainer.train_step, trainer.hparams, trainer.stores, specs)
        found.append({"step": step, "loads": loads, **cosines})
    return found


def timings(trainer, evaluate=True):
    """How long the parts of a run take, measured with a trainer that is thrown away afterwards.

    Returns:
      {"problems": {name: {"graph": which graph it shares, "trace": seconds of its first update, "step": seconds of an
      update, "first_evaluation": seconds, "example": seconds to evaluate one}}, "save": seconds of a checkpoint};
      without the evaluation's where `evaluate` is false.
    """
    measured = {}
    rate = learning_rate(trainer.hparams, 0, trainer.hparams.train_steps)
    for name, store in trainer.stores.items():
        spec = trainer.run_record.problems[name].spec
        times = []
        for _ in range(1 + TIMED_UPDATES):
            started = time.perf_counter()
            batch = trainer.stream.streams[name].next()
            trainer.train_step.update([(spec, batch.arrays)], rate)
            times.append(time.perf_counter() - started)
        measured[name] = {"graph": "/".join(spec.signature), "trace": times[0], "step": sum(times[1:]) / TIMED_UPDATES}
        if evaluate:
            split = "dev" if "dev" in store.manifest["splits"] else store.evaluation_split
            # A model that has learnt nothing never ends a text by itself: it is told to end where most texts do.
            usual = {"max_length": int(np.quantile(store.split(split).target_length, 0.8)) + 1}
            first, _ = _timed(trainer.evaluator.evaluate, store, split, 1)
            trainer.evaluator.evaluate(store, split, 1, usual)
            seconds, scores = _timed(trainer.evaluator.evaluate, store, split, TIMED_BATCHES, usual)
            example = seconds / scores["examples"]
            measured[name] |= {"first_evaluation": max(0.0, first - seconds / TIMED_BATCHES), "example": example}
    trainer.stream.close()
    saving, _ = _timed(trainer._save)
    return {"problems": measured, "save": saving}


def _some(steps, most):
    """`most` of the steps at even distances, first and last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _timed(function, *arguments):
    started = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - started, value
