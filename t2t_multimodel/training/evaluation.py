"""Evaluation: each problem by itself, teacher-forced and on decoded output; never a mix of problems in one number."""

from pathlib import Path

from t2t_multimodel import metrics
from t2t_multimodel.decode_hparams import decode_settings, describe
from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.batching import evaluation_batches
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training.backend import adapter


class Evaluator:
    """Scores a model on splits of example stores. Reads weights, changes nothing."""

    def __init__(self, model, run, hparams, step=None):
        """Args:
        model, run, hparams: see `training/run.py`.
        step: the backend's `Step` whose compiled evaluation to use; None: one is made, without an optimiser.
        """
        backend = adapter()
        self._run, self._hparams = run, hparams
        self._step = step or backend.Step(model, None, hparams)
        self._decoder = BatchDecoder(model, backend)
        self._static_shapes = backend.STATIC_SHAPES

    def evaluate(self, store, split, eval_batches=0, decode_hparams=None, examples=None, decoding=True):
        """All metrics of one problem.

        Args:
          store: its `ExampleStore`. split: name.
          eval_batches: only the first so many batches; 0 = all.
          decode_hparams: what differs from the problem's own, see `decode_hparams.py`.
          examples: a list to which {"key", "row" (in the split), "input", "prediction", "references", "teacher_forced"}
            of each example are added; the last is [log-probability, ids right, ids] of its target, sums.
          decoding: False: nothing is decoded, which takes the longest; teacher-forced metrics only.

        Returns:
          {metric: value} with "examples", "split" and, of text, "decoding": how it was decoded, in words. Rates are
          fractions of 1; BLEU and bracket F1 run to 100.
        """
        problem = self._run.problem(store.name)
        decode = decode_settings(decode_hparams, problem.decode_hparams)
        teacher_forced = metrics.TeacherForced()
        predictions, references = [], []
        reader = store.split(split)
        most = eval_batches * self._hparams.batch_examples
        for batch in evaluation_batches(store, split, self._hparams, most, bucket=self._static_shapes):
            forced = self._step.evaluate(problem.spec, batch.arrays)
            teacher_forced.add(*forced)
            if not decoding:
                continue
            predicted = self.predict(problem, batch.arrays, store, decode)[: batch.examples]
            stored = reader.examples(batch.rows)
            right = [self._references(problem, store, example) for example in stored]
            predictions += predicted
            references += right
            if examples is not None:
                examples += [
                    {
                        "key": e["key"],
                        "row": int(row),
                        "input": self._shown(problem, store, e),
                        "prediction": p,
                        "references": r,
                        "teacher_forced": sums,
                    }
                    for e, row, p, r, sums in zip(
                        stored, batch.rows, predicted, right, metrics.teacher_forced_sums(*forced)
                    )
                ]
        means = teacher_forced.result()
        scores = (
            metrics.score(problem.metrics, predictions, references) if decoding else {"examples": means["sequences"]}
        )
        said = {}
        if decoding and problem.spec.targets.modality == "text":
            said["decoding"] = describe(decode, problem.spec.targets.form)
        return (
            scores
            | {name: value for name, value in means.items() if name.startswith("teacher_forced")}
            | {"split": split, **said}
        )

    def predict(self, problem, arrays, store, decode):
        """Decoded strings of a batch, or for classes their names, likeliest first."""
        if problem.spec.targets.modality == "label":
            order, _ = self._decoder.classes(problem.spec, arrays)
            return [[problem.classes[i] for i in row] for row in order]
        return self._decoder.texts(problem, arrays, store.vocabulary(), decode)

    def _references(self, problem, store, example):
        if problem.spec.targets.modality == "label":
            return [problem.classes[example["targets"]]]
        return example.get("references") or [store.vocabulary().decode(example["targets"].tolist())]

    def _shown(self, problem, store, example):
        if problem.spec.inputs.modality == "text":
            return store.vocabulary().decode(example["inputs"].tolist())
        return f"({problem.spec.inputs.modality} {example['key']})"


def open_stores(data_dir, run, names):
    """{name: ExampleStore} of problems of a run; `UserError` where the data is not what it was trained on."""
    stores = {}
    for name in names:
        store = ExampleStore(data_dir, name)
        trained = run.problem(name).spec
        for side in ("inputs", "targets"):
            before, now = getattr(trained, side), getattr(store.spec, side)
            if before != now:
                raise UserError(
                    f"{name}: the data's {side} are {now.name}, the run was trained with {before.name} "
                    "(another vocabulary, shape or classes); give the --data_dir of its training"
                )
        stores[name] = store
    return stores


def evaluate_run(
    output_dir,
    problem_names,
    data_dir,
    split=None,
    step=None,
    eval_batches=0,
    decode_hparams=None,
    examples=None,
    report=print,
):
    """Scores a run's checkpoint on each of the problems.

    Args:
      split: None: "test" where a problem has one, else "dev".
      step: which checkpoint; None: the newest.
      examples: a dict that gets {problem: list of examples with their predictions}, if given.

    Returns:
      {problem: {metric: value}}.
    """
    from t2t_multimodel.training.run import load_model

    decode_settings(decode_hparams)
    model, run, hparams, _ = load_model(Path(output_dir), step, report)
    stores = open_stores(data_dir, run, problem_names)
    evaluator = Evaluator(model, run, hparams)
    scores = {}
    for name, store in stores.items():
        kept = None if examples is None else examples.setdefault(name, [])
        scores[name] = evaluator.evaluate(store, split or store.evaluation_split, eval_batches, decode_hparams, kept)
    return scores
