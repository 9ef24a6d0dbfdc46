"""Measurements of a suite's runs: test scores by example, gradient cosines and expert loads, and speed."""

import time

import numpy as np

from t2t_multimodel import machine, metrics
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.affinity import gradient_cosines
from t2t_multimodel.training.expert_usage import expert_load
from t2t_multimodel.training.optimizer import learning_rate
from t2t_multimodel.training.run import load_variables

PROBED_CHECKPOINTS = 3  # first, middle and last of the kept checkpoints
TIMED_STEPS = 10  # of each problem, after the first step, which traces
TIMED_BATCHES = 2  # of an evaluation


def test_scores(trainer):
    """The scores of a trained run on each problem's test split, by example.

    Returns:
      {problem: {"split", "examples": number, "keys": list, "scores": {metric: value},
                 "sums": {metric: for each example a list, see metrics/},
                 "predictions": for each example the text, or the five most likely classes; None where nothing is
                 decoded}}, examples sorted by key.
    """
    measured = {}
    for name, store in trainer.stores.items():
        examples = []
        scores = trainer.evaluator.evaluate(store, store.evaluation_split, examples=examples)
        examples.sort(key=lambda example: example["key"])
        predictions = [example["prediction"] for example in examples]
        names = metrics.comparable(store.metrics)
        decoded = metrics.decoded(names)
        targets = store.spec.targets
        own = (name for name in names if name not in decoded)
        forced = dict.fromkeys((*targets.teacher_forced_metrics, *own))
        references = [example["references"] for example in examples]
        sums = metrics.example_sums(decoded, predictions, references) if decoded else {}
        sums |= metrics.teacher_forced_example_sums([example["teacher_forced"] for example in examples], forced)
        measured[name] = {
            "split": scores["split"],
            "decoding": scores.get("decoding"),
            "examples": len(examples),
            "keys": [example["key"] for example in examples],
            "scores": {metric: scores[metric] for metric in sums},
            "sums": sums,
            "predictions": [_plain(targets, prediction) for prediction in predictions],
        }
    return measured


def size(trainer):
    """{"parameters": weights of the model, "peak_memory": the most bytes that training has taken at once}.

    Of a device with a memory of its own that is what was taken there, of a processor all of this process.
    """
    on_device = trainer.backend.peak_device_memory()
    return {"parameters": trainer.model.count_params(), "peak_memory": on_device or machine.peak_memory()}


def _plain(targets, prediction):
    """A prediction as JSON has it: of ranked answers the first five, of all others their line of text."""
    if prediction is None:
        return None
    return list(prediction)[:5] if targets.ranked else targets.to_line(prediction)


def dev_scores(trainer):
    """{problem: its scores from the `Evaluator`} on the whole dev split, or on the test split without a dev split."""
    return {name: trainer.evaluator.evaluate(store, store.dev_split) for name, store in trainer.stores.items()}


def probes(trainer):
    """Gradient cosines of the problems and expert loads, at some of the kept checkpoints.

    Afterwards the model has the weights of the last of them.

    Returns:
      A list of {"step", "problems", "cosines", "loads": {problem: {"encoder": {"load": [experts], …}, …}}}.
    """
    folder = trainer.output_dir / "checkpoints"
    specs = {name: problem.spec for name, problem in trainer.run_record.problems.items()}
    found = []
    # An interrupted run has an extra checkpoint, at a step that other seeds do not have.
    regular = [s for s in checkpoints.steps(folder) if s % trainer.settings.save_interval == 0 or s == trainer.step]
    for step in _some(regular, PROBED_CHECKPOINTS):
        load_variables(trainer.model.variables, checkpoints.load(folder, step).arrays, folder)
        loads = {}
        for name, store in trainer.stores.items():
            split = store.dev_split
            used = expert_load(trainer.model, trainer.hparams, store, split)
            loads[name] = {part: {k: v.tolist() for k, v in kinds.items()} for part, kinds in used.items()}
        cosines = gradient_cosines(trainer.train_step, trainer.hparams, trainer.stores, specs)
        found.append({"step": step, "loads": loads, **cosines})
    return found


def timings(trainer, evaluate=True):
    """Measures the times of the parts of a run, with a trainer that is discarded afterwards.

    Returns:
      {"problems": {name: {"graph": its graph, "trace": seconds of the first step, "step": seconds of a step,
      "first_evaluation": seconds, "example": seconds to evaluate one example}}, "save": seconds of a checkpoint};
      without the evaluation times if `evaluate` is false.
    """
    measured = {}
    rate = learning_rate(trainer.hparams, 0, trainer.hparams.train_steps)
    for name, store in trainer.stores.items():
        spec = trainer.run_record.problems[name].spec
        times = []
        for _ in range(1 + TIMED_STEPS):
            started = time.perf_counter()
            count = trainer.hparams.gradient_accumulation_steps
            batches = [(spec, trainer.stream.streams[name].next().arrays) for _ in range(count)]
            _, norm = trainer.train_step.update(batches, rate)
            float(norm)  # waits for it
            times.append(time.perf_counter() - started)
        measured[name] = {"graph": "/".join(spec.signature), "trace": times[0], "step": sum(times[1:]) / TIMED_STEPS}
        if evaluate:
            split = store.dev_split
            # An untrained model does not end a text by itself, so the length limit is that of most targets.
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
    """`most` of the steps at even distances, including the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _timed(function, *arguments):
    started = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - started, value
