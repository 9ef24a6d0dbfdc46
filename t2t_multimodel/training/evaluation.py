"""Evaluation: each problem by itself, teacher-forced and on decoded output; never a mix of problems in one number."""

import numpy as np

from t2t_multimodel import metrics
from t2t_multimodel.decode_hparams import decode_settings, describe
from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.batching import evaluation_batches
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.following import Following


class Evaluator:
    """Scores a model on splits of example stores. Reads weights, changes nothing."""

    def __init__(self, model, run, hparams, step=None):
        """Args:
        model, run, hparams: see `training/run.py`.
        step: the backend's `Step` with the compiled evaluation to use; None: one is made, without an optimiser.
        """
        backend = adapter()
        self._run, self._hparams = run, hparams
        self._step = step or backend.Step(model, None, hparams)
        self._decoder = BatchDecoder(model, backend)
        self._static_shapes = backend.STATIC_SHAPES
        self.check_stop = lambda: None  # called before each batch; what it raises ends an evaluation

    def evaluate(self, store, split, eval_batches=0, decode_hparams=None, examples=None, decoding=True):
        """All metrics of one problem.

        Args:
          store: its `ExampleStore`. split: name.
          eval_batches: only the first so many batches; 0 = all.
          decode_hparams: what differs from the problem's own, see `decode_hparams.py`.
          examples: a list to which {"key", "row" (in the split), "input", "prediction", "references", "teacher_forced"}
            of each example are added; the prediction is None where nothing is decoded, the last are the `Sums` of its
            target.
          decoding: False: nothing is decoded, which takes the longest; teacher-forced metrics only.

        Returns:
          {metric: value} with "examples", "split" and, of text, "decoding": how it was decoded, in words; of inputs in
          order also those of `following.py`. Rates are fractions of 1; BLEU and bracket F1 run to 100.
        """
        problem = self._run.problem(store.name)
        decode = decode_settings(decode_hparams, problem.decode_hparams, store.name)
        targets = problem.spec.targets
        decoded = metrics.decoded(problem.metrics)
        decoding = decoding and bool(decoded)  # a language model has teacher-forced metrics only
        own = [name for name in problem.metrics if name not in decoded]
        teacher_forced = metrics.TeacherForced()
        predictions, references = [], []
        # Of written targets, whether the model reads its input in order.
        follows = problem.spec.inputs.in_order and targets.is_text
        following = Following()
        reader = store.split(split)
        most = eval_batches * self._hparams.batch_examples
        for batch in evaluation_batches(store, split, self._hparams, most, bucket=self._static_shapes):
            self.check_stop()
            forced = self._step.evaluate(problem.spec, batch.arrays)
            stored = reader.examples(batch.rows) if decoding or own or examples is not None else []
            characters = None
            if own and targets.uses_vocabulary:
                characters = np.zeros(len(batch.arrays["command"]), int)
                texts = [targets.reference(example["targets"], store.vocabulary()) for example in stored]
                characters[: batch.examples] = [len(text) for text in texts]
            teacher_forced.add(forced, characters)
            if follows:
                seen = self._step.observe(problem.spec, batch.arrays)
                following.add(seen, batch.examples, store.vocabulary())
            predicted, right = [None] * batch.examples, []
            if decoding or examples is not None:
                right = [self._references(problem, store, example) for example in stored]
            if decoding:
                predicted = self.predict(problem, batch.arrays, store, decode, batch.rows)[: batch.examples]
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
                        stored, batch.rows, predicted, right, metrics.teacher_forced_sums(forced, characters)
                    )
                ]
        means = teacher_forced.result((*targets.teacher_forced_metrics, *own))
        scores = metrics.score(decoded, predictions, references) if decoding else {"examples": means["sequences"]}
        followed = following.result(decoded, references if decoding else [])
        said = {"decoding": describe(decode, problem.spec.grammar)} if decoding and targets.uses_vocabulary else {}
        counts = ("tokens", "sequences")
        means = {name: value for name, value in means.items() if name not in counts}
        return scores | means | followed | {"split": split} | said

    def predict(self, problem, arrays, store, decode, rows=None):
        """The answers to a batch, as `BatchDecoder.answers` gives them."""
        return self._decoder.answers(problem, arrays, store.vocabulary(), decode, rows)

    def _references(self, problem, store, example):
        right = problem.spec.targets.reference
        return example.get("references") or [right(example["targets"], store.vocabulary())]

    def _shown(self, problem, store, example):
        return problem.spec.inputs.in_one_line(example["inputs"], example["key"], store.vocabulary())


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
                    f"{name}: the data's {side} are {now.weights_name}, the run was trained with {before.weights_name} "
                    "(another vocabulary, shape or classes); give the --data_dir of its training"
                )
        stores[name] = store
    return stores


def recalled_stores(output_dir, run, names):
    """{name: `ExampleStore`} of problems of a run, from the folder that it was trained on.

    Raises:
      NoData: that is unknown or gone, or holds other data now.
    """
    from t2t_multimodel.training.run_directory import NoData, RunDirectory

    folder = RunDirectory(output_dir).data_dir()
    try:
        stores = open_stores(folder, run, names)
        for store in stores.values():
            store.vocabulary()
    except UserError as error:
        raise NoData("the folder of its data no longer holds what it was trained on", str(error)) from None
    changed = [name for name, store in stores.items() if store.digest != run.problem(name).digest]
    if changed:
        raise NoData(f"the data was made anew with other content since ({', '.join(changed)})", str(folder))
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
    from t2t_multimodel.training.run_directory import RunDirectory

    decode_settings(decode_hparams)
    model, run, hparams, _ = RunDirectory(output_dir).load_model(step, report)
    for name in problem_names:
        decode_settings(decode_hparams, run.problem(name).decode_hparams, name)  # raises
    stores = open_stores(data_dir, run, problem_names)
    evaluator = Evaluator(model, run, hparams)
    scores = {}
    for name, store in stores.items():
        kept = None if examples is None else examples.setdefault(name, [])
        scores[name] = evaluator.evaluate(store, split or store.evaluation_split, eval_batches, decode_hparams, kept)
    return scores
