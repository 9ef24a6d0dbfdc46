"""Evaluation: each problem by itself, teacher-forced and on decoded output; never a mix of problems in one number."""

import collections
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from t2t_multimodel import metrics
from t2t_multimodel.decode_hparams import check_ctc, decode_settings, describe
from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.batching import evaluation_batches
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training.answerer import Outcome, Task
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.following import Following
from t2t_multimodel.training.workers import Workers, chosen_workers


class Evaluator:
    """Scores a model on splits of example stores. Reads weights, changes nothing."""

    def __init__(self, model, run, hparams, step=None, workers=None):
        """Args:
        model, run, hparams: see `training/run.py`.
        step: the backend's `Step` with the compiled evaluation to use; None: one is made, without an optimiser.
        workers: `Workers` that do it instead of this process, with weights of their own; then `model` may be None.
        """
        backend = adapter()
        self._run, self._hparams, self.workers = run, hparams, workers
        if model is not None:
            self._step = step or backend.Step(model, None, hparams)
            self._decoder = BatchDecoder(model, backend)
        self._static_shapes, self._prepared_at_once = backend.STATIC_SHAPES, backend.PREPARED_AT_ONCE
        self._prepared = set()
        self.check_stop = lambda: None  # called before each batch; what it raises ends an evaluation

    def evaluate(self, store, split, eval_batches=0, decode_hparams=None, examples=None, decoding=True):
        """All metrics of one problem.

        Args:
          store: its `ExampleStore`, whose metrics they are. split: name.
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
        decoded = metrics.decoded(store.metrics)
        decoding = decoding and bool(decoded)  # a language model has teacher-forced metrics only
        own = [name for name in store.metrics if name not in decoded]
        teacher_forced = metrics.TeacherForced()
        predictions, references = [], []
        # Of written targets, whether the model reads its input in order.
        follows = problem.spec.inputs.in_order and targets.is_text
        following = Following()
        reader = store.split(split)
        most = eval_batches * self._hparams.batch_examples
        batches = evaluation_batches(store, split, self._hparams, most, bucket=self._static_shapes)
        for batch, outcome in self._outcomes(problem, batches, store, decode if decoding else None, follows):
            forced = outcome.forced
            stored = reader.examples(batch.rows) if decoding or own or examples is not None else []
            characters = None
            if own and targets.uses_vocabulary:
                characters = np.zeros(len(batch.arrays["command"]), int)
                texts = [targets.reference(example["targets"], store.vocabulary()) for example in stored]
                characters[: batch.examples] = [len(text) for text in texts]
            teacher_forced.add(forced, characters)
            if follows:
                following.add(outcome.observed, batch.examples, store.vocabulary())
            predicted, right = [None] * batch.examples, []
            if decoding or examples is not None:
                right = [self._references(problem, store, example) for example in stored]
            if decoding:
                predicted = outcome.answers[: batch.examples]
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

    def evaluate_all(self, stores, splits, **options):
        """{problem: what `evaluate` gives}; with workers, as many problems at once as there are workers.

        Args:
          stores: {problem: `ExampleStore`}. splits: {problem: name}. options: of `evaluate`; of `examples` a dict that
            gets {problem: list}.
        """
        examples = options.pop("examples", None)

        def scores(name):
            kept = {} if examples is None else {"examples": examples.setdefault(name, [])}
            return self.evaluate(stores[name], splits[name], **options, **kept)

        if self.workers is None:
            self._prepare(stores, splits, **options)
            return {name: scores(name) for name in stores}
        with ThreadPoolExecutor(self.workers.count) as threads:
            futures = {name: threads.submit(scores, name) for name in stores}
            try:
                return {name: future.result() for name, future in futures.items()}
            except BaseException:
                self.workers.close()  # which ends what the threads wait for
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _prepare(self, stores, splits, eval_batches=0, decode_hparams=None, decoding=True):
        """Has the programs of each problem's first batch made, by as many threads as may prepare some at once."""
        if self._prepared_at_once == 1:
            return
        new = {}  # one problem for all that have the same programs
        for name in stores:
            problem = self._run.problem(name)
            settings = decode_settings(decode_hparams, problem.decode_hparams, name)
            key = problem.spec.signature, decoding and repr(sorted(settings.items()))
            if key not in self._prepared:
                new.setdefault(key, (problem, stores[name], splits[name], settings))

        def make(problem, store, split, settings):
            most = eval_batches * self._hparams.batch_examples
            batches = evaluation_batches(store, split, self._hparams, most, bucket=self._static_shapes)
            if (batch := next(iter(batches), None)) is None:
                return
            if problem.spec.inputs.in_order and problem.spec.targets.is_text:
                self._step.observe(problem.spec, batch.arrays)
            self._step.evaluate(problem.spec, batch.arrays)
            if decoding and metrics.decoded(problem.metrics):
                self._decoder.compile(problem, batch.arrays, store.vocabulary(), settings)

        if len(new) > 1:  # else there is nothing to do beside it
            with ThreadPoolExecutor(self._prepared_at_once) as threads:
                for made in [threads.submit(make, *each) for each in new.values()]:
                    made.result()
            self._prepared.update(new)

    def close(self):
        """Ends the workers, if there are any."""
        if self.workers is not None:
            self.workers.close()

    def _outcomes(self, problem, batches, store, settings, observed):
        """Yields (batch, its `Outcome`), in their order. Args: settings, observed: as of `Task`."""
        if self.workers is None:
            for batch in batches:
                self.check_stop()
                seen = self._step.observe(problem.spec, batch.arrays) if observed else None
                forced, answers = self._step.evaluate(problem.spec, batch.arrays), None
                if settings is not None:
                    answers = self._decoder.answers(problem, batch.arrays, store.vocabulary(), settings, batch.rows)
                yield batch, Outcome(forced, answers, seen)
            return
        given = collections.deque()

        def tasks():
            for batch in batches:
                given.append(batch)
                yield Task(problem.spec.name, batch.arrays, settings, batch.rows, forced=True, observed=observed)

        for outcome in self.workers.results(tasks()):
            self.check_stop()
            yield given.popleft(), outcome

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
    workers=None,
):
    """Scores a run's checkpoint on each of the problems.

    Args:
      split: None: "test" where a problem has one, else "dev".
      step: which checkpoint; None: the newest.
      examples: a dict that gets {problem: list of examples with their predictions}, if given.
      workers: processes that do it, each on one processor; None: as `chosen_workers` says. One where there are fewer
        batches than workers.

    Returns:
      {problem: {metric: value}}.
    """
    from t2t_multimodel.training.run_directory import RunDirectory

    quantize = decode_settings(decode_hparams)["quantize"]
    stored = RunDirectory(output_dir).stored(step, report).quantized(quantize)
    run, hparams = stored.run, stored.hparams
    for name in problem_names:
        known = run.problem(name)
        check_ctc(decode_settings(decode_hparams, known.decode_hparams, name), known.spec, hparams.ctc_weight > 0)
    stores = open_stores(data_dir, run, problem_names)
    splits = {name: split or store.evaluation_split for name, store in stores.items()}
    options = {"eval_batches": eval_batches, "decode_hparams": decode_hparams, "examples": examples}
    most = eval_batches * hparams.batch_examples or math.inf
    count = sum(min(most, len(store.split(splits[name]))) for name, store in stores.items())
    workers = chosen_workers(workers, count)
    if workers == 1 or count <= (workers - 1) * hparams.batch_examples:
        return Evaluator(stored.model(), run, hparams).evaluate_all(stores, splits, **options)
    with Workers(workers, stored) as pool:
        return Evaluator(None, run, hparams, workers=pool).evaluate_all(stores, splits, **options)
