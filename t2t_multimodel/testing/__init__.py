"""For tests of your own problems: `check_problem(MyProblem)` tries the whole contract and lists all that is wrong.

`check_modality` (modality.py) does the same for your own modalities.

    from t2t_multimodel.testing import check_problem

    def test_my_problem():
        check_problem(CityBirds)

It prepares some samples of every split, here and in a worker process, writes them to a store in a temporary folder and
reads them back, compares the splits, and scores right and wrong answers with the problem's metrics. Takes seconds.
In a script the call belongs under `if __name__ == "__main__":`, since a worker process imports the script.
"""

import copy
import inspect
import itertools
import re
import tempfile

import numpy as np

from t2t_multimodel import registry, startup
from t2t_multimodel.arguments import POSITIVE, check_arguments, in_short
from t2t_multimodel.errors import UserError
from t2t_multimodel.problem import Problem, declaration_faults, missing_side, samples_of
from t2t_multimodel.testing.content import digest_of, same_arrays
from t2t_multimodel.testing.findings import few_of, said
from t2t_multimodel.testing.modality import FaultyModality, check_modality

__all__ = ["FaultyModality", "FaultyProblem", "check_modality", "check_problem", "find_faults"]


class FaultyProblem(AssertionError):
    """What `check_problem` found; `findings` is the list, one line each."""

    def __init__(self, name, findings):
        self.findings = list(findings)
        super().__init__(f"problem {name}: {len(self.findings)} faults\n" + "\n".join(f"- {f}" for f in self.findings))


def check_problem(problem, *, prepared=100, read=100_000, worker=True):
    """Raises `FaultyProblem` with everything that is wrong with a problem; returns None where nothing is.

    Args:
      problem: a `Problem` class, an instance, or a registered name.
      prepared: samples of each split that are prepared, stored and read back.
      read: so many samples of each split have their keys and raw content compared.
      worker: whether a worker process prepares some too. Needs the class to be importable, as data generation does.

    Raises:
      UserError: an argument is of the wrong kind.
    """
    findings = find_faults(problem, prepared=prepared, read=read, worker=worker)
    if findings:
        raise FaultyProblem(_called(problem), findings)


def find_faults(problem, *, prepared=100, read=100_000, worker=True):
    """As `check_problem`, but returns the findings, a list of lines."""
    check_arguments(prepared=(prepared, POSITIVE), read=(read, POSITIVE), worker=(worker, bool))
    if not isinstance(problem, (str, type, Problem)):
        raise UserError(f"problem must be a Problem class, an instance or a name, not {in_short(problem)}")
    try:
        problem = _made(problem)
        findings = _declared(problem)
        problem.source_files()
    except Exception as error:
        return [f"it can't be made: {said(error)}"]
    if findings:  # what follows would only say it again, less clearly
        return findings
    findings += _described(problem)
    samples = {}
    for split in problem.splits:
        samples[split] = _read(problem, split, read, findings)
    first = {split: found[:prepared] for split, found in samples.items()}
    findings += _order(problem, first)
    findings += _keys(samples)
    made = {split: _prepared(problem, split, found, findings) for split, found in first.items()}
    findings += _disjoint(problem, samples, made)
    if worker:
        findings += _in_a_worker(problem, made)
    findings += _stored(problem, made)
    findings += _scored(problem, made)
    return findings


def _made(problem):
    if isinstance(problem, str):
        return registry.problem(problem)
    if inspect.isclass(problem):
        if not issubclass(problem, Problem):
            raise UserError(f"{problem.__name__} is not derived from Problem")
        problem = problem()
    if not problem.name:  # not registered: a test may look at a class before it is
        problem.name = _called(problem)
    return problem


def _called(problem):
    if isinstance(problem, str):
        return problem
    cls = problem if inspect.isclass(problem) else type(problem)
    return getattr(problem, "name", None) or registry.snake_case(cls.__name__)


# ---- What it says of itself


def _declared(problem):
    from t2t_multimodel import metrics

    findings = declaration_faults(problem)
    if not (problem.name.isidentifier() and problem.name.isascii()):
        findings.append(f"its name {problem.name!r} must be letters, digits and underscores: folders are called so")
    if not findings:
        try:
            metrics.check_names(problem.metric_names, problem.targets)
        except UserError as error:
            findings.append(str(error))
        if "train" not in problem.splits:
            findings.append(f"it has no split 'train', only {', '.join(problem.splits)}: there is nothing to train on")
        elif problem.evaluation_split not in problem.splits:
            findings.append(f'it has no split {problem.evaluation_split!r} to be scored on: give it that, or "test"')
    return findings


def _described(problem):
    classes = type(problem).__mro__[: type(problem).__mro__.index(Problem)]
    if not any(cls.__doc__ for cls in classes):
        yield "its class has no docstring; the first line of it is the description that users see"
    for name, value in problem.arguments().items():
        if re.search(r" at 0x[0-9a-f]{6,}", value):
            yield (
                f"its attribute {name} is written {value:.60}…, with a place in memory, which differs from run to "
                "run: data generation would take the data for outdated every time; give it a __repr__"
            )


# ---- Samples


def _read(problem, split, most, findings):
    """The first raw samples of a split; what stops them is found."""
    found = []
    try:
        for sample in itertools.islice(samples_of(problem, split), most):
            found.append(sample)
    except Exception as error:
        findings.append(f"samples({split!r}) failed after {len(found)} samples: {said(error)}")
    if not found:
        findings.append(f"samples({split!r}) yields nothing; take the split out of `splits`, or look at its files")
    bad = [sample["bad"] for sample in found if "bad" in sample]
    findings += few_of(bad, f"split {split!r}: a bad record: {{}}", "bad records")
    return [sample for sample in found if "bad" not in sample]


def _order(problem, first):
    """Whether a second pass gives the same samples."""
    for split, before in first.items():
        try:
            again = [s for s in itertools.islice(problem.samples(split), 2 * len(before) + 8) if "bad" not in s]
        except Exception as error:
            yield f"samples({split!r}) failed at its second call: {said(error)}"
            continue
        different = next((i for i, (a, b) in enumerate(zip(before, again)) if digest_of(a) != digest_of(b)), None)
        if len(again) < len(before):
            yield f"samples({split!r}) yields fewer samples at its second call; it must start anew"
        elif different is not None:
            yield (
                f"samples({split!r}) is not the same every time: sample {different} differs at the second call; "
                "seed what is random by the split and the number, and sort what the file system lists"
            )


def _keys(samples):
    where = {}
    for split, found in samples.items():
        twice, wrong = [], []
        for number, sample in enumerate(found):
            key = sample.get("key", f"{split}-{number}")
            if not isinstance(key, str) or not key:
                wrong.append(f"sample {number} of split {split!r} has the key {key!r}; a key is a string of its own")
            elif where.setdefault(key, split) != split:
                twice.append(f"the key {key!r} is in the splits {where[key]!r} and {split!r}")
            elif key in (seen := where.setdefault((split,), set())):
                twice.append(f"two samples of split {split!r} have the key {key!r}")
            else:
                seen.add(key)
        yield from few_of(wrong, "{}", f"such keys in {split!r}")
        yield from few_of(twice, "{}", f"such keys in {split!r}")


def _prepared(problem, split, found, findings):
    """[(raw, prepared)] of what passes; the sides of each are checked against the declared features."""
    made, bad = [], []
    for number, raw in enumerate(found):
        name = raw.get("key", f"{split}-{number}")
        try:
            sample = problem.prepare(dict(raw))
        except Exception as error:
            bad.append(f"{name!r}: prepare failed: {said(error)}")
            continue
        missing = missing_side(problem, sample)
        reasons = [missing] if missing else list(_feature_faults(problem, sample))
        if reasons:
            bad += [f"{name!r}: {reason}" for reason in reasons]
            continue
        made.append((raw, sample))
        if len(made) <= 5 and digest_of(problem.prepare(dict(raw))) != digest_of(sample):
            bad.append(f"{name!r}: prepare gives something else at its second call; seed what is random by the sample")
    findings += few_of(bad, f"split {split!r}, sample {{}}", f"samples of {split!r}")
    return made


def _feature_faults(problem, sample):
    for side in ("inputs", "targets"):
        try:
            getattr(problem, side).check(sample.get(side))
        except Exception as error:
            yield f"its {side} are not what the feature says: {error}"
    references = sample.get("references")
    if references is None:
        return
    if isinstance(references, str) or not all(isinstance(r, str) and r.strip() for r in references) or not references:
        yield f"its references must be a list of texts, not {references!r:.80}"
    elif problem.targets.uses_vocabulary and sample["targets"] not in references:
        yield f"its target {sample['targets']!r:.60} is not among its references, which are all that is right"


def _disjoint(problem, samples, made):
    """What is evaluated on must not be in training, whatever its key; compared raw, and prepared where it was."""
    contents = {}
    for split in problem.splits:
        found = {digest_of((s.get("inputs"), s.get("targets"))): s for s in samples[split] if _has_sides(problem, s)}
        found |= {digest_of((s.get("inputs"), s["targets"])): raw for raw, s in made[split]}
        contents[split] = found
    for one, other in itertools.combinations(problem.splits, 2):
        shared = contents[one].keys() & contents[other].keys()
        if shared:
            keys = (contents[split][min(shared)].get("key", "?") for split in (one, other))
            yield (
                f"the splits {one!r} and {other!r} share {len(shared)} samples of the same content, for instance "
                f"{' and '.join(map(repr, keys))}: what is tested on must not be trained on"
            )


def _has_sides(problem, sample):
    return "targets" in sample and ("inputs" in sample or problem.inputs.optional)


# ---- The way to the store and back


def _in_a_worker(problem, made):
    """Data generation sends the problem to fresh processes; there it must prepare the same."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from t2t_multimodel.data_gen.workers import recipe_of

    some = [pair for pairs in made.values() for pair in pairs[:5]]
    recipe = recipe_of(problem)
    if recipe is None:
        yield (
            "it can't be sent to a worker process, so its data is made in one process only: define its class at the "
            "top of a module, and keep open files, locks and lambdas out of its attributes"
        )
        return
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            there = pool.submit(_prepared_there, recipe, [raw for raw, _ in some]).result()
    except Exception as error:
        yield f"a worker process can't prepare its samples: {said(error)}"
        return
    different = [raw.get("key", "?") for (raw, sample), digest in zip(some, there) if digest != digest_of(sample)]
    if different:
        yield (
            f"a worker process prepares other samples than this one, for instance {different[0]!r}: prepare must "
            "depend on nothing but the sample and the problem's attributes"
        )


def _prepared_there(recipe, samples):
    problem = recipe.make()
    return [digest_of(problem.prepare(dict(raw))) for raw in samples]


def _stored(problem, made):
    """Writes the prepared samples to a store and reads them back."""
    if not all(made.values()):
        return
    startup.import_tensorflow()
    from t2t_multimodel.data_gen.generate import generate
    from t2t_multimodel.input.store import ExampleStore

    few = _few_samples(problem, {split: _with_keys(split, pairs) for split, pairs in made.items()})
    with tempfile.TemporaryDirectory() as folder:
        try:
            generate([few], folder, workers=1, max_bad_records=10**9, log=lambda line: None, progress=False)
            store = ExampleStore(folder, few.name)
            vocabulary = store.vocabulary()
        except UserError as error:
            yield f"its samples can't be stored: {error}"
            return
        dropped = [f"{d['key']!r} can't be stored: {d['reason']}" for d in store.manifest["dropped"]]
        yield from few_of(dropped, "{}", "samples that can't be stored")
        for split in store.manifest["splits"]:
            reader = store.split(split)
            expected = {sample["key"]: sample for sample in few.samples(split)}
            changed = []
            for example in reader.examples(np.arange(len(reader))):
                for side in ("inputs", "targets"):
                    modality = getattr(store.spec, side)
                    written = modality.encode([expected[example["key"]].get(side)], vocabulary)[0]
                    if not same_arrays(written, example[side]):
                        changed.append(f"{example['key']!r}: its {side} come back from the store changed")
            yield from few_of(changed, f"split {split!r}, sample {{}}", f"samples of {split!r}")


def _with_keys(split, pairs):
    return [{"key": f"{split}-{number}", **sample} for number, (_, sample) in enumerate(pairs)]


def _few_samples(problem, samples):
    """`problem` with nothing but these samples, prepared already."""

    class Few(type(problem)):
        def samples(self, split):
            yield from samples[split]

        def prepare(self, sample):
            return sample

        def source_files(self):
            return []

    few = copy.copy(problem)
    few.__class__ = Few
    few.name = "checked"
    return few


# ---- Metrics


def _scored(problem, made):
    """The right answers must score perfectly, wrong ones must be scorable and score worse."""
    from t2t_multimodel import metrics

    pairs = made.get(problem.evaluation_split) or ()
    references = [list(s.get("references") or [s["targets"]]) for _, s in pairs]
    if not references:
        return
    right = [problem.targets.as_answer(texts[0]) for texts in references]
    empty = [problem.targets.empty_answer() for _ in right]
    wrong = {"empty answers": empty, "the answers of the next examples": right[1:] + right[:1]}
    for name in metrics.decoded(problem.metric_names):
        metric = metrics.get(name)
        try:
            value = metrics.score((name,), right, references)[name]
        except Exception as error:
            yield f"its metric {name} can't be computed on the right answers: {said(error)}"
            continue
        if metric.perfect is not None and abs(value - metric.perfect) > 1e-6:
            hint = ""
            if name == "bleu":
                hint = "; BLEU needs answers of four words and more: choose exact_match or cer for shorter ones"
            yield f"its metric {name} of the right answers is {value:g}, not {metric.perfect:g}{hint}"
        for called, answers in wrong.items():
            try:
                scored = metrics.score((name,), answers, references)[name]
            except Exception as error:
                yield f"its metric {name} can't be computed on {called}: {said(error)}"
                continue
            if called == "empty answers" and scored == metric.perfect:
                yield f"its metric {name} is perfect for {called} too: it tells nothing"
