"""The Python API: what the commands do, as functions.

    import t2t_multimodel as t2t

    t2t.generate_data("tiny_ende", "data")
    run = t2t.train("tiny_ende", "multimodel_tiny", "data", "run", overrides={"train_steps": 100})
    scores = t2t.evaluate(run)
    t2t.load(run).decode("tiny_ende", ["a red circle"])

To import this module imports neither Keras nor a backend; the functions do.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from t2t_multimodel.hyperparameters import HParams, Resolved
    from t2t_multimodel.mixture import Mixture
    from t2t_multimodel.problem import Problem
    from t2t_multimodel.training.run_directory import RunDirectory

Folder: TypeAlias = str | os.PathLike[str]
# As --problem= names them ("tiny8", "a,b:2"), a mixture, a problem or its class; and any number of them.
OneProblem: TypeAlias = "str | Mixture | Problem | Callable[[], Problem]"
Problems: TypeAlias = "OneProblem | Iterable[OneProblem]"


def generate_data(
    problems: Problems,
    data_dir: Folder,
    *,
    vocabulary_size: int | None = None,
    vocabulary_from: "Folder | RunDirectory | None" = None,
    workers: int | None = None,
    overwrite: bool = False,
    max_bad_records: int = 0,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """Generates the data of problems, as t2t-datagen does; data that is there and current is kept.

    Args:
      problems: names, mixtures, `Problem` classes or instances; one, or a list.
      data_dir: a folder; created if it does not exist.
      vocabulary_size: ids of the vocabulary, if this call trains it; None: as the problems declare, else 8192.
      vocabulary_from: a run, or a published folder, whose vocabulary is used instead of training one.
      workers: number of processes; None: one for each processor. The files do not depend on it.
      overwrite: generates existing data again.
      max_bad_records: how many records of a problem may be left out because they can't be read.
      seed: of the order of the examples on disk.

    Returns:
      {problem: {split: number of examples}}.

    Raises:
      UserError: an unknown name, unusable data, existing data that was made from something else.
    """
    from t2t_multimodel import startup
    from t2t_multimodel.arguments import COUNT, POSITIVE, SEED, check_arguments
    from t2t_multimodel.files import user_path

    check_arguments(
        vocabulary_size=(vocabulary_size, (POSITIVE, None)),
        workers=(workers, (POSITIVE, None)),
        overwrite=(overwrite, bool),
        max_bad_records=(max_bad_records, COUNT),
        seed=(seed, SEED),
    )
    data_dir = user_path(data_dir, "data_dir")
    chosen = _chosen(problems)
    startup.set_environment()
    startup.import_tensorflow()
    from t2t_multimodel import metrics, registry
    from t2t_multimodel.data_gen import generate
    from t2t_multimodel.data_gen.readers import corpora

    corpora.set_folders(data_dir)
    vocabulary = None
    if vocabulary_from is not None:
        from t2t_multimodel.training.published import vocabulary_of

        vocabulary = vocabulary_of(vocabulary_from)
    made = [problem or registry.problem(name) for name, (_, problem) in chosen.items()]
    for problem in made:
        metrics.check_names(problem.metric_names, problem.targets)
    results = generate.generate(
        made,
        data_dir,
        vocabulary_size=vocabulary_size,
        workers=workers,
        overwrite=overwrite,
        max_bad_records=max_bad_records,
        seed=seed,
        vocabulary_from=vocabulary,
    )
    return {
        result.problem: {split: about["examples"] for split, about in result.manifest["splits"].items()}
        for result in results
    }


def train(
    problems: Problems,
    hparams: "str | HParams | Mapping[str, Any]" = "multimodel_base",
    data_dir: Folder = "data",
    output_dir: Folder = "run",
    *,
    overrides: Mapping[str, Any] | None = None,
    model: str = "multimodel",
    seed: int = 0,
    schedule: str = "train_and_evaluate",
    eval_interval: int = 1000,
    eval_batches: int = 0,
    skip_decoding: bool = False,
    eval_workers: int = 1,
    save_interval: int = 1000,
    keep_checkpoints: int = 5,
    early_stopping_metric: str = "",
    early_stopping_patience: int = 0,
    log_interval: int = 50,
    devices: int = 0,
    expert_devices: int = 0,
    shard_weights: bool = False,
    keep_best: str = "",
    warm_start_from: "Folder | RunDirectory | None" = None,
    warm_start_map: Mapping[str, str] | None = None,
    keep_optimizer: bool = False,
) -> "RunDirectory":
    """Trains one model on one problem or on many at once, as t2t-trainer does.

    The run goes on where it stopped when it is called again with the same arguments, and with more `train_steps` beyond
    its end.

    Args:
      problems: names as on the command line ("tiny8", "a,b:2"), a `Mixture`, `Problem` classes or instances; one, or a
        list.
      hparams: name of a registered set, an `HParams`, or {name: value}: changes to the set multimodel_base.
      data_dir: the folder that `generate_data` or t2t-datagen filled.
      output_dir: the run directory; created if it does not exist.
      overrides: {name: value} of hyper-parameters, put into `hparams`; {"train_steps": 100} sets the length.
      model: name of a registered model.
      seed: of weights, data order, dropout and the mixture's draws.
      schedule: "train_and_evaluate", "train" or "evaluate".
      eval_interval: updates between evaluations.
      eval_batches: batches of each problem in an evaluation; 0: all.
      skip_decoding: evaluates by teacher-forced metrics alone.
      eval_workers: processes that evaluate, each on one processor; a script that sets it needs `if __name__ ==
        "__main__":`.
      save_interval: updates between checkpoints.
      keep_checkpoints: so many of the newest checkpoints are kept.
      early_stopping_metric: stops when it no longer improves: a metric, or "problem/metric".
      early_stopping_patience: evaluations without improvement before stopping.
      log_interval: updates between lines of metrics.jsonl.
      devices: of this machine to train on, with JAX; 0: all of them.
      expert_devices: the experts are shared out over so many of them; 0: as many as divide both.
      shard_weights: whether the other weights and the optimizer's state are shared out too.
      keep_best: keeps the checkpoint that is best by this metric too: a metric, or "problem/metric".
      warm_start_from: a trained run whose weights are taken over; "run@2000" is its checkpoint of step 2000.
      warm_start_map: {new problem: problem of that run that it begins from}.
      keep_optimizer: goes on from that run's step, with the state of its optimizer.

    Returns:
      The `RunDirectory`, which `evaluate` and `load` take, and which stands wherever a path can.

    Raises:
      UserError: an unknown name, missing data, a run directory of another run, a loss that is not finite.
      KeyboardInterrupt, SystemExit: Ctrl-C (SIGINT), or the process was told to end (SIGTERM); the step was finished,
        the run is saved, and the same call continues it. A second Ctrl-C stops at once.
    """
    from t2t_multimodel import registry, startup
    from t2t_multimodel.arguments import COUNT, NAMED, POSITIVE, SEED, OneOf, check_arguments
    from t2t_multimodel.files import user_path
    from t2t_multimodel.training.run_settings import RunSettings

    check_arguments(
        overrides=(overrides, (NAMED, None)),
        model=(model, str),
        seed=(seed, SEED),
        schedule=(schedule, OneOf("train_and_evaluate", "train", "evaluate")),
        eval_interval=(eval_interval, POSITIVE),
        eval_batches=(eval_batches, COUNT),
        skip_decoding=(skip_decoding, bool),
        eval_workers=(eval_workers, POSITIVE),
        save_interval=(save_interval, POSITIVE),
        keep_checkpoints=(keep_checkpoints, POSITIVE),
        early_stopping_metric=(early_stopping_metric, str),
        early_stopping_patience=(early_stopping_patience, COUNT),
        log_interval=(log_interval, POSITIVE),
        devices=(devices, COUNT),
        expert_devices=(expert_devices, COUNT),
        shard_weights=(shard_weights, bool),
        keep_best=(keep_best, str),
        warm_start_map=(warm_start_map, (NAMED, None)),
        keep_optimizer=(keep_optimizer, bool),
    )
    asked = RunSettings(
        resolved=_resolved(hparams, overrides),
        mixture=_mixture(problems),
        data_dir=user_path(data_dir, "data_dir"),
        output_dir=user_path(output_dir, "output_dir"),
        model=registry.models.resolve(model),
        seed=seed,
        schedule=schedule,
        eval_interval=eval_interval,
        eval_batches=eval_batches,
        skip_decoding=skip_decoding,
        eval_workers=eval_workers,
        save_interval=save_interval,
        keep_checkpoints=keep_checkpoints,
        early_stopping_metric=early_stopping_metric,
        early_stopping_patience=early_stopping_patience,
        log_interval=log_interval,
        devices=devices,
        expert_devices=expert_devices,
        shard_weights=shard_weights,
        keep_best=keep_best,
        warm_start_from="" if warm_start_from is None else user_path(warm_start_from, "warm_start_from"),
        warm_start_map=",".join(f"{new}={old}" for new, old in (warm_start_map or {}).items()),
        keep_optimizer=keep_optimizer,
    )
    startup.set_environment()
    startup.import_backend()
    from t2t_multimodel.training.stopping import INTERRUPTED, StopSignals
    from t2t_multimodel.training.trainer import Trainer

    with StopSignals() as stop:
        trainer = Trainer(asked)
        status = trainer.run(stop)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise SystemExit(status)
    return trainer.directory


def evaluate(
    run: "Folder | RunDirectory",
    problems: "Problems | None" = None,
    data_dir: Folder | None = None,
    *,
    split: str | None = None,
    step: int | None = None,
    eval_batches: int = 0,
    decode_hparams: Mapping[str, Any] | None = None,
    workers: int | None = 1,
) -> dict[str, dict[str, Any]]:
    """Scores a trained model on each of its problems by itself, as t2t-eval does.

    Args:
      run: what `train` returned, or the path of a run directory.
      problems: as `train` takes them; None: all that it was trained on.
      data_dir: the folder of the data; None: the one that it was trained on.
      split: of the data; None: "test" where a problem has one, else "dev".
      step: which checkpoint; None: the newest whole one.
      eval_batches: only the first so many batches of each problem; 0: all.
      decode_hparams: how to decode, where that is to differ: {"beam_size": 4}.
      workers: processes that do it, each on one processor; a script that sets it needs `if __name__ == "__main__":`.
        None: one, and of more than 10,000 examples one for each processor, at most 8.

    Returns:
      {problem: {metric: value}}, with "examples" and "split". Rates are fractions of 1; BLEU and bracket F1 run to 100.

    Raises:
      UserError: no run or checkpoint, an unknown name, missing data or other data than it was trained on.
    """
    from t2t_multimodel import startup
    from t2t_multimodel.arguments import COUNT, NAMED, POSITIVE, check_arguments
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.files import user_path
    from t2t_multimodel.training.run_directory import NoData, RunDirectory

    check_arguments(
        split=(split, (str, None)),
        step=(step, (COUNT, None)),
        eval_batches=(eval_batches, COUNT),
        decode_hparams=(decode_hparams, (NAMED, None)),
        workers=(workers, (POSITIVE, None)),
    )
    directory = RunDirectory(user_path(run, "run"))
    trained = directory.run()
    names = list(_chosen(problems)) if problems is not None else sorted(trained.problems)
    for name in names:
        trained.problem(name)
    if data_dir is None:
        try:
            data_dir = directory.data_dir()
        except NoData as why:
            raise UserError(f"{why}; give data_dir") from None
    data_dir = user_path(data_dir, "data_dir")
    startup.set_environment()
    startup.import_backend()
    from t2t_multimodel.training.evaluation import evaluate_run

    return evaluate_run(
        directory,
        names,
        data_dir,
        split=split,
        step=step,
        eval_batches=eval_batches,
        decode_hparams=decode_hparams,
        workers=workers,
    )


def _resolved(hparams: "str | HParams | Mapping[str, Any]", overrides: Mapping[str, Any] | None) -> "Resolved":
    from t2t_multimodel import hyperparameters

    changed = (overrides or {}, "overrides")
    if isinstance(hparams, Mapping):
        return hyperparameters.resolve("multimodel_base", [(hparams, "hparams"), changed])
    return hyperparameters.resolve(hparams, [changed])


def _mixture(problems: Problems) -> "Mixture":
    """The problems with their weights, as one mixture that holds problems only."""
    from t2t_multimodel.mixture import Mixture

    pairs = tuple((name, weight) for name, (weight, _) in _chosen(problems).items())
    name = problems if isinstance(problems, str) else ",".join(name for name, _ in pairs)
    return Mixture(name, "of the Python API", pairs, source="train")


def _chosen(problems: Problems) -> "dict[str, tuple[float, Problem | None]]":
    """{name: (weight, the problem where it was given itself, else None)}, in the order given."""
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.mixture import Mixture, parse
    from t2t_multimodel.problem import Problem

    if isinstance(problems, Mapping):
        raise UserError('problems is a dict; weights are written "a,b:2", or as a Mixture')
    if isinstance(problems, Set):  # a run would not go on as it began
        raise UserError("problems is a set, the order of which is another one in every process; give a list")
    given: Iterable[Any] = [problems]
    if isinstance(problems, Iterable) and not isinstance(problems, str):
        given = problems
    chosen: dict[str, tuple[float, Problem | None]] = {}
    for item in given:
        made: Problem | None = None
        if isinstance(item, str):
            pairs = list(parse(item).problems)
        elif isinstance(item, Mixture):
            pairs = _flattened(item)
        elif isinstance(item, Problem) or (isinstance(item, type) and issubclass(item, Problem)):
            made = _named(item() if isinstance(item, type) else item)
            pairs = [(made.name, 1.0)]
        else:
            raise UserError(f"problems must be names, a Mixture or Problem classes, not {item!r}")
        for name, weight in pairs:
            before, problem = chosen.get(name, (0.0, None))
            chosen[name] = (before + weight, made or problem)
    if not chosen:
        raise UserError("problems is empty; name at least one")
    return chosen


def _flattened(mixture: "Mixture") -> list[tuple[str, float]]:
    """(problem, weight) of all problems of a mixture; the weights sum to 1."""
    from t2t_multimodel.mixture import parse

    total = sum(weight for _, weight in mixture.problems)
    pairs = []
    for member, weight in mixture.problems:
        inside = parse(member).problems
        whole = sum(share for _, share in inside)
        pairs += [(name, weight / total * share / whole) for name, share in inside]
    return pairs


def _named(problem: "Problem") -> "Problem":
    """The problem, with the name that @register_problem would have given it."""
    from t2t_multimodel.registry import snake_case

    # Its own: a class inherits the name of the problem that it is derived from.
    problem.name = vars(problem).get("name") or vars(type(problem)).get("name") or snake_case(type(problem).__name__)
    return problem
