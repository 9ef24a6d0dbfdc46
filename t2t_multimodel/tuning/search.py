"""A search that can be killed at any time: its trials are in SQLite, and each trial has its own run directory.

    OUTPUT_DIR/study.sqlite          Optuna's storage: parameters, evaluations, states of all trials
               trials/0007/          the run directory of trial 7, made by t2t-trainer, and its log.txt

A trial that was running when the search was killed is continued with its parameters, from its checkpoint. The values of
a trial depend on the seed, its number and the trials before it, so an interrupted search proposes the same values as an
uninterrupted one.
"""

import contextlib
import dataclasses
import json
import time
import warnings
from pathlib import Path

from t2t_multimodel import locks
from t2t_multimodel.errors import DIVERGED, UserError
from t2t_multimodel.files import remove_folder
from t2t_multimodel.tuning import storage

STORAGE_FILE, LOCK_FILE, TRIALS_FOLDER = "study.sqlite", "tune.lock", "trials"
_STUDY = "t2t-tune"
_MOST_FAILURES = 3  # in a row, before the search gives up
_PAUSE = 0.2  # seconds between polls of a running trial


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a trial: "complete", "pruned", "failed" or "unfinished" (out of time, to be continued)."""

    number: int
    values: dict
    state: str
    value: float | None
    said: str = ""


class Search:
    """Opens or continues the search in a folder; only one process at a time."""

    def __init__(
        self,
        output_dir,
        dimensions,
        objective,
        settings,
        seed=0,
        startup_trials=4,
        warmup_steps=0,
        keep_checkpoints=0,
        base=None,
    ):
        """
        Args:
          output_dir: the folder of the search. dimensions: list of `Dimension`. objective: `Objective`.
          settings: {name: plain value} that the trials depend on; a search can't be continued with other ones.
          seed: of the proposals.
          startup_trials: number of random trials at the start; no trial is pruned before they have ended.
          warmup_steps: no trial is pruned before this step.
          keep_checkpoints: number of best trials that keep their checkpoints; 0: all.
          base: {hparam: value} that the search starts from, which the name of a set alone does not say.

        Raises:
          UserError: optuna is missing, another process uses the folder, or the settings differ.
        """
        self._optuna = _optuna()
        self.folder, self._dimensions, self._objective = Path(output_dir), dimensions, objective
        self._seed, self._startup, self._keep = seed, startup_trials, keep_checkpoints
        self._storage = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"--output_dir={output_dir} can't be made: {error.strerror}") from None
        self._lock = contextlib.ExitStack()
        try:
            self._lock.enter_context(locks.hold(self.folder / LOCK_FILE))
        except locks.Busy as holder:
            raise UserError(
                f"{output_dir}: another t2t-tune ({holder}) uses this folder; wait, or give another one"
            ) from None
        try:
            self.study = self._open(warmup_steps)
            self._check(settings)
            self._check_base(json.loads(json.dumps(base or {})))
        except BaseException:
            self.close()
            raise

    def close(self):
        if self._storage is not None:
            self._storage.remove_session()
        self._lock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def run(self, start, trials, deadline=None, on_result=print):
        """Runs trials until `trials` of them have ended in this folder, or until `deadline`.

        Args:
          start: function (values, folder) → a running trial with the methods of `ChildRun`: `evaluations()`, all
            (step, scores) so far; `ended()`, None or (whether it succeeded, its last line); `stop(save=False)`, which
            waits for its end.
          deadline: time.monotonic() at which to stop. on_result: called with the `Result` of each trial.

        Raises:
          UserError: several trials failed in a row; the message has the last line of the last one.
        """
        failures = 0
        while self.ended() < trials and (deadline is None or time.monotonic() < deadline):
            trial = self._next()
            result = self._try(trial, start, deadline)
            on_result(result)
            failures = failures + 1 if result.state == "failed" else 0
            if failures == _MOST_FAILURES:
                raise UserError(f"{failures} trials failed one after the other, the last: {result.said}")
            self._tidy()

    def ended(self):
        """The number of complete and pruned trials."""
        states = self._optuna.trial.TrialState
        return len(self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)))

    def results(self):
        """The `Result`s of all ended trials, best first, pruned ones after complete ones."""
        states = self._optuna.trial.TrialState
        trials = self.study.get_trials(states=(states.COMPLETE, states.PRUNED))
        results = [
            Result(t.number, self._values(t), "complete" if t.state == states.COMPLETE else "pruned", t.value)
            for t in trials
        ]
        sign = -1 if self._objective.direction == "maximize" else 1
        return sorted(results, key=lambda r: (r.state != "complete", r.value is None, sign * (r.value or 0), r.number))

    def best(self):
        """The best complete trial's `Result`, or None."""
        first = next(iter(self.results()), None)
        return first if first and first.state == "complete" else None

    def folder_of(self, number):
        return self.folder / TRIALS_FOLDER / f"{number:04d}"

    def _open(self, warmup_steps):
        optuna = self._optuna
        path = self.folder / STORAGE_FILE
        storage.check_file(path, _STUDY, self.folder / TRIALS_FOLDER)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=self._startup, n_warmup_steps=warmup_steps)
        with storage.reading(path):
            self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            return optuna.create_study(
                storage=self._storage,
                study_name=_STUDY,
                direction=self._objective.direction,
                pruner=pruner,
                load_if_exists=True,
            )

    def _check(self, settings):
        path = self.folder / STORAGE_FILE
        with storage.reading(path):
            before = self.study.user_attrs.get("settings")
            if before is None and self.study.get_trials() or not isinstance(before, (dict, type(None))):
                raise storage.damaged(path, "the settings of its search are missing", storage.ADVICE)
        if before is None:
            self.study.set_user_attr("settings", settings)
        elif before != settings:
            names = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
            changes = "; ".join(f"{name}: {before.get(name)} → {settings.get(name)}" for name in names)
            raise UserError(
                f"{self.folder} holds a search with other settings ({changes}); give another --output_dir, "
                "or the old ones to continue that search"
            )
        storage.check_trials(path, self.study, self._objective.direction, self._values)

    def _check_base(self, base):
        """Raises `UserError` where a set is no longer what it was when the search began."""
        before = self.study.user_attrs.get("base")
        if before is None:  # of a search that begins, or began where this was not kept
            self.study.set_user_attr("base", base)
            return
        if not isinstance(before, dict):
            raise storage.damaged(self.folder / STORAGE_FILE, "the hparams of its search are damaged", storage.ADVICE)
        changes = "; ".join(f"{n}: {before[n]} → {v}" for n, v in base.items() if n in before and before[n] != v)
        if changes:
            raise UserError(
                f"{self.folder} holds a search that began with other values in its hparams set ({changes}); give "
                "another --output_dir, or the set as it was to continue that search"
            )

    def _next(self):
        """The trial that was running when the search was killed, or a new one."""
        optuna = self._optuna
        waiting = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        number = waiting[0].number if waiting else len(self.study.get_trials(deepcopy=False))
        seed = (self._seed * 1_000_003 + number) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=self._startup, seed=seed)
        return optuna.trial.Trial(self.study, waiting[0]._trial_id) if waiting else self.study.ask()

    def _try(self, trial, start, deadline):
        """Runs one trial and stores its result."""
        values = {d.name: d.suggest(trial) for d in self._dimensions}
        states = self._optuna.trial.TrialState
        done = lambda state, value=None, said="": Result(trial.number, values, state, value, said)
        try:
            running = start(values, self.folder_of(trial.number))
        except UserError as error:  # an invalid combination of values
            self._end(trial, states.PRUNED)
            return done("pruned", None, str(error))
        seen, value = set(), None
        try:
            while True:
                end = running.ended()  # before reading the evaluations, so that the last one is not missed
                for step, scores in running.evaluations():
                    if step in seen:
                        continue
                    seen.add(step)
                    value = self._objective.value(scores)
                    if value is None:
                        running.stop(save=True)
                        self._end(trial, states.PRUNED)
                        return done("pruned", None, f"{self._objective.metric} is not finite at step {step}")
                    self._report(trial, step, value)
                    if end is None and trial.should_prune():
                        running.stop(save=True)  # so that a report of the run is possible
                        self._end(trial, states.PRUNED)
                        return done("pruned", value, f"worse than the median at step {step}")
                if end is not None:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    running.stop(save=True)
                    return done("unfinished", value, "out of time; the next search continues it")
                time.sleep(_PAUSE)
        except BaseException:
            running.stop()
            raise
        whole, said = end
        if whole and value is not None:
            self._end(trial, states.COMPLETE, value)
            return done("complete", value)
        diverged = DIVERGED in said
        self._end(trial, states.PRUNED if diverged else states.FAIL)
        return done("pruned" if diverged else "failed", None, said)

    def _end(self, trial, state, value=None):
        """Stores how a trial has ended, and before it the digest by which damage to it is found."""
        frozen = self._storage.get_trial(trial._trial_id)
        kept = frozen.intermediate_values
        # A pruned trial has the value of its last evaluation: Optuna puts it there.
        last = kept[max(kept)] if state == self._optuna.trial.TrialState.PRUNED and kept else value
        trial.set_user_attr(storage.DIGEST, storage.digest(frozen, state, last))
        self.study.tell(trial.number, value, state=None if value is not None else state)

    def _report(self, trial, step, value):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a continued trial reports some evaluations twice
            trial.report(value, step)

    def _values(self, frozen):
        """The values of a stored trial."""
        fixed = self._optuna.trial.FixedTrial(frozen.params)
        return {d.name: d.suggest(fixed) for d in self._dimensions if d.name in frozen.params}

    def _tidy(self):
        """Removes the checkpoints of ended trials except the best ones, if `keep_checkpoints` limits them."""
        if not self._keep:
            return
        kept = {result.number for result in self.results()[: self._keep]}
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in kept:
                remove_folder(self.folder_of(trial.number) / "checkpoints")


def _optuna():
    try:
        import optuna
    except ImportError:
        raise UserError("t2t-tune needs optuna; run: pip install 't2t-multimodel[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
