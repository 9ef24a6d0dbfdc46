"""The trainer: restore; then draw, update, log, evaluate, save, until the last step."""

import contextlib
import math
import sys

import keras

from t2t_multimodel.errors import UserError
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training import checkpoints, processes
from t2t_multimodel.training.backend import adapter, chosen_devices, scope
from t2t_multimodel.training.checks import check_scores, check_update
from t2t_multimodel.training.clock import TrainingClock, seconds_logged
from t2t_multimodel.training.early_stopping import EarlyStopping
from t2t_multimodel.training.evaluation import Evaluator
from t2t_multimodel.training.forgetting import scores_before_and_after
from t2t_multimodel.training.joint_loss import objective_of
from t2t_multimodel.training.loss_window import LossWindow
from t2t_multimodel.training.metrics_log import MetricsLog, NoLog, read_metrics
from t2t_multimodel.training.optimizer import learning_rate, make_optimizer
from t2t_multimodel.training.parts import set_parts
from t2t_multimodel.training.pending import PendingUpdates
from t2t_multimodel.training.programs import Programs
from t2t_multimodel.training.reporting import Progress, draw_learning_curves
from t2t_multimodel.training.run import Run, build_model, load_variables
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.training.run_settings import RunSettings
from t2t_multimodel.training.run_stream import open_stream
from t2t_multimodel.training.saving import newest, save
from t2t_multimodel.training.stopping import INTERRUPTED, RESUME_ME, Stop, StopSignals
from t2t_multimodel.training.warm_start import WarmStart, go_on_with_data, open_source, warm_start
from t2t_multimodel.training.workers import workers_of

__all__ = ["INTERRUPTED", "RESUME_ME", "Trainer"]


class Trainer:
    """Trains one model on a mixture. A run killed at any moment goes on to the same bits as one that was not."""

    def __init__(self, settings: RunSettings) -> None:
        """Opens the data, makes the model, restores the newest checkpoint. Nothing of the run directory changes yet.

        Args:
          settings: a `RunSettings`.

        Raises:
          UserError: missing data, a run directory of another run or one that is being trained, damaged checkpoints.
        """
        self.settings = settings
        self.hparams = settings.resolved.hparams
        self.directory = RunDirectory(settings.output_dir)
        self.output_dir = self.directory.path
        self._trains = settings.schedule != "evaluate"
        self.processes = processes.current()
        if self.processes.several and settings.eval_workers > 1:
            raise UserError("--eval_workers goes with one process; several evaluate together, leave it out")
        if self._trains and self.processes.first:
            self.directory.check_free()
        self.stores = {name: ExampleStore(settings.data_dir, name) for name in settings.mixture.problem_names}
        self.run_record = Run.of(settings.model, settings.seed, keras.backend.backend(), self.stores, self.hparams)
        self.directory.check_continuation(self.run_record, settings.resolved)
        self.early_stopping = EarlyStopping(
            settings.early_stopping_metric, settings.early_stopping_patience, self.run_record.problems
        )
        self.best = EarlyStopping(settings.keep_best, math.inf, self.run_record.problems, "--keep_best")
        self._steps_there = checkpoints.steps(self.directory.checkpoints)
        self.warm_start = WarmStart.read(self.output_dir)
        source = self._open_other_run()
        self.backend = adapter()
        self.devices = chosen_devices(settings, self.hparams)
        if self.devices is not None:
            print(self.devices)
        few = self.backend.STATIC_SHAPES
        self.stream = open_stream(self.stores, settings, few, (self.processes.index, self.processes.count))
        # The order of what follows is part of exact repetition: seed, weights, then whatever a checkpoint says.
        self.backend.seed(settings.seed)
        with scope(self.devices):
            self.model = build_model(self.run_record, self.hparams)
            optimizer = make_optimizer(self.hparams, self.model.trainable_variables)
            set_parts(self.model, optimizer, self.hparams)
        more = {} if self.devices is None else {"devices": self.devices}
        self.train_step = self.backend.Step(self.model, optimizer, self.hparams, **more)
        self.evaluator = Evaluator(self.model, self.run_record, self.hparams, self.train_step)
        self.step = 0
        self.window = LossWindow()
        self._evaluation_due = False  # an evaluation at this step was given up
        self._agreed = 0  # the exit status that one of several processes was told, once all know it
        with scope(self.devices):
            self._restore()
            if source is not None:
                self._start_from(source, optimizer)
        if self.processes.several:
            self.train_step.spread()
        seconds = seconds_logged(read_metrics(self.output_dir), self.step)
        self.clock = TrainingClock(seconds)
        self.programs = Programs(self.train_step, self.stream, self.run_record.problems, few)

    def run(self, stop: StopSignals | None = None) -> int:
        """Trains, or evaluates, as `settings.schedule` says.

        Args:
          stop: which signals to heed, already listening; None: SIGTERM and Ctrl-C, from here on.

        Returns:
          The exit status: 0, or where SIGTERM or Ctrl-C ended it early `RESUME_ME` or `INTERRUPTED`; the step was
          finished and saved.

        Raises:
          UserError: the loss of a batch is not finite, or a batch has nothing to learn from. The last checkpoint stays.
            Or another trainer has this run directory.
        """
        with contextlib.ExitStack() as ending:
            ending.callback(self.stream.close)
            ending.callback(self.evaluator.close)
            ending.callback(self.programs.close)
            stop = stop or ending.enter_context(StopSignals())
            stop.training(saves=self._trains)
            self.evaluator.check_stop = lambda: self._check_stop(stop)
            ending.callback(setattr, self.evaluator, "check_stop", lambda: None)
            self.processes.same("comparing what the processes are to do", self._what_is_done())
            if not self._trains:
                return self._evaluate_only(stop)
            if self.processes.first:
                ending.enter_context(self.directory.lock())
                self._check_not_trained_since()
                self._write_directory()
            self._wait_for_directory()
            log = ending.enter_context(self._log())
            return self._train(log, stop)

    def _train(self, log, stop):
        """Draw, update, log, evaluate, save."""
        settings, last = self.settings, self.hparams.train_steps
        self._saved_step = self.step if self.step in self._steps_there else None
        shown = None if self.processes.first else sys.stdout
        self.programs.look_ahead(self.step, last)
        with Progress(last, list(self.stores), self.step, shown) as progress:
            pending = self._pending_updates(progress)
            self._compile_ahead(progress, stop)
            if self._evaluation_due and settings.schedule == "train_and_evaluate":
                self._evaluate_unless_stopped(log, progress)
            while self.step < last and not self._status(stop) and not self.early_stopping.stopped:
                if self.processes.several:
                    self.train_step.stop = stop.status
                self._update(pending)
                if self.step % settings.log_interval == 0 or self.step == last:
                    self._finish(pending)
                    rate = learning_rate(self.hparams, self.step - 1, last)
                    self.window.write(log, self.step, self.stream, rate, self.clock.seconds)
                if settings.schedule == "train_and_evaluate" and (
                    self.step % settings.eval_interval == 0 or self.step == last
                ):
                    self._finish(pending)
                    self._evaluate_unless_stopped(log, progress)
                if self.step % settings.save_interval == 0:
                    self._finish(pending)
                    self._save_once()
            self._finish(pending)
            self._save_once()
        if self.processes.first:
            self._draw_curves()
        if self.early_stopping.stopped:
            print(f"stopped early at step {self.step}: {self.early_stopping.reason}")
        if self.best.best is not None:
            print(f"best {self.best.metric}: {self.best.best:.6g} at step {self.best.best_step}, which is kept")
        if self.warm_start and settings.schedule == "train_and_evaluate" and self.processes.first:
            print(scores_before_and_after(self.warm_start, self.run_record, self.output_dir))
        return self._status(stop) if self.step < last or self._evaluation_due else 0

    def _compile_ahead(self, progress, stop):
        """Has the programs of the updates compiled: on JAX with an accelerator beside them; on processors, which would
        do both at once, before the first, and by several processes too, in one order.
        """
        if self.backend.PREPARED_BESIDE and self.backend.accelerated() and not self.processes.several:
            return self.programs.compile_beside()

        def told(there, count):
            self.processes.stage(f"compiling program {there + 1} of {count}")
            progress.programs(there, count, show=there < count)

        self.programs.compile_ahead(told, lambda: not self._status(stop), self.backend.PREPARED_AT_ONCE)

    def _status(self, stop):
        """The exit status that this process was told; with several the one that all have heard of."""
        return self._agreed if self.processes.several else stop.status

    def _check_stop(self, stop):
        """Raises `Stop` where an evaluation is to be given up; several processes give up the same one."""
        if self.processes.several:
            self.processes.meeting(f"an evaluation after step {self.step}")
            self._agreed = max(self._agreed, self.devices.most(stop.status))
        if self._status(stop):
            raise Stop

    def _pending_updates(self, progress):
        def done(step, batches, reports, norm):
            self._agreed = max(self._agreed, int(reports[0].pop("stop", 0)))
            check_update(step, batches, reports)
            for batch, report in zip(batches, reports):
                self.stream.record_loss(batch.problem, objective_of(report, self.hparams.ctc_weight))
            self.window.add(batches, reports, norm)
            progress.programs(*self.programs.counts)
            progress.update(step, *self.window.latest)

        return PendingUpdates(0 if self.stream.needs_losses else self.backend.UPDATES_UNDER_WAY, done)

    def _update(self, pending):
        """One update; it may be under way when this returns. That of a new graph is compiled with none beside it."""
        self.clock.start()
        self.processes.stage(f"the batches of step {self.step + 1}")
        batches = self.stream.microbatches(self.step)
        microbatches = [(self.run_record.problems[batch.problem].spec, batch.arrays) for batch in batches]
        first = self.programs.is_new(microbatches)
        if first and pending:
            self._finish(pending)
            self.clock.start()
        rate = learning_rate(self.hparams, self.step, self.hparams.train_steps)
        self.processes.meeting(f"the update of step {self.step + 1}")
        reports, norm = self.train_step.update(microbatches, rate, self.stream.loss_weights(batches))
        self.step += 1
        self.programs.used(microbatches)
        pending.add(self.step, batches, reports, norm)
        if pending.read(all_of_them=first):
            self.clock.stop(counts=not first)

    def _finish(self, pending):
        """Waits for the updates under way: what is logged, evaluated or saved was checked to be finite."""
        pending.read(all_of_them=True)
        self.clock.stop()

    def _evaluate_only(self, stop):
        """Evaluates a run that another process may be training: nothing of it changes, lines are added to its log."""
        if self.processes.first and not self.directory.exists():
            with contextlib.suppress(UserError), self.directory.lock():  # one that is locked is being written
                self._write_directory()
        with self._log(append_only=True) as log:
            try:
                self._evaluate(log)
            except Stop:
                return self._status(stop)
        return 0

    def _log(self, **how):
        return MetricsLog(self.output_dir, self.step, **how) if self.processes.first else NoLog()

    def _evaluate_unless_stopped(self, log, progress):
        """Evaluates; where stopping is asked for meanwhile, gives that up, and the run that goes on makes up for it."""
        self._saved_step = None  # a checkpoint of this step lacks what the evaluation changes
        try:
            self._evaluate(log, progress)
            self._evaluation_due = False
            if self.best.best is not None and self.best.best_step == self.step:
                self._save()
        except Stop:
            self._evaluation_due = True

    def _evaluate(self, log, progress=None):
        """Each problem by itself, on its dev split; logged, and told to early stopping."""
        splits = {name: store.dev_split for name, store in self.stores.items()}
        options = {"eval_batches": self.settings.eval_batches, "decoding": not self.settings.skip_decoding}
        if self.settings.eval_workers > 1:
            self.evaluator.workers = workers_of(self, self.evaluator.workers)
        scores = self.evaluator.evaluate_all(self.stores, splits, **options)
        for name in scores if progress is not None else ():  # not of a run that another process trains
            check_scores(self.step, name, scores[name])
        for name, store in self.stores.items():  # all or none of them, so that an evaluation is logged once
            seen = {"examples_seen": self.stream.examples_seen[name], "train_seconds": self.clock.seconds}
            log.write(self.step, scores[name] | seen, problem=name, split=store.dev_split)
        self.early_stopping.record(self.step, scores)
        self.best.record(self.step, scores)
        headlines = {}
        for name, store in self.stores.items():
            # With --skip_decoding only those that are teacher-forced are there.
            metrics = (*store.metrics, *store.spec.targets.teacher_forced_metrics)
            headline = next(metric for metric in metrics if metric in scores[name])
            headlines[name] = (headline, scores[name][headline])
        text = f"step {self.step} dev: " + "  ".join(f"{name} {m} {v:.4g}" for name, (m, v) in headlines.items())
        (progress.say if progress else print)(text)

    # ---- Checkpoints

    def _save_once(self):
        if self._saved_step != self.step:
            self._save()

    def _save(self):
        folder = self.directory.checkpoints
        save(folder, self.step, self.train_step, self.model, self._state(), self.processes)
        if self.processes.first:
            best = () if self.best.best is None else (self.best.best_step,)
            checkpoints.prune(folder, self.settings.keep_checkpoints, spared=best)
        self._saved_step = self.step

    def _state(self):
        state = {
            "step": self.step,
            "stream": self.stream.state(),
            "early_stopping": self.early_stopping.state(),
            "window": self.window.state(),
            "keep_best": self.best.state(),
        }
        return state | ({"evaluation_due": True} if self._evaluation_due else {})

    def _restore(self):
        folder = self.directory.checkpoints
        checkpoint = newest(folder, self.processes)
        if checkpoint is None:
            return
        if "average_of" in checkpoint.state:
            raise UserError(
                f"{self.output_dir} holds averaged weights, which can't be trained on: decode and score with them "
                "(t2t-decoder, t2t-eval), or start from them with "
                f"--warm_start_from={self.output_dir} and another --output_dir"
            )
        load_variables(self.train_step.variables(), checkpoint.arrays, folder)
        with checkpoint.state_used():
            state = checkpoint.state
            if state["step"] != checkpoint.step:
                raise ValueError(f"step is {state['step']!r}")
            self.stream.restore(state["stream"], same_mixture=self._trains)
            self.early_stopping.restore(state["early_stopping"])
            if "window" in state:  # older checkpoints have none
                self.window.restore(state["window"])
            if "keep_best" in state and state["keep_best"]["best_step"] in self._steps_there:
                self.best.restore(state["keep_best"])
            self._evaluation_due = state.get("evaluation_due") is True
        self.step = checkpoint.step
        print(f"continuing from step {self.step} ({folder})")

    def _what_is_done(self):
        """What must be the same in all processes, {what it is: value}."""
        settings = {n: v for n, v in vars(self.settings).items() if isinstance(v, str | int) and "dir" not in n}
        hparams = {f"hparam {name}": value for name, value in vars(self.hparams).items()}
        place = {"step": self.step, "place in the data": self.stream.state(), "problems": self.run_record.to_json()}
        return settings | hparams | place

    def _wait_for_directory(self):
        """Returns when the first process has written the run directory; raises `UserError` where it is not seen."""
        self.processes.barrier("writing the run directory")
        if not self.directory.exists():
            raise UserError(
                f"process {self.processes.index} does not see what process 0 has written to {self.output_dir}; give "
                "all of them one folder, on a disk that they share"
            )

    def _open_other_run(self):
        """The `Source` that `warm_start_from` names; None where this run has checkpoints, or starts from nothing."""
        asked, before = self.settings.warm_start_from, self.warm_start
        if before:
            before.check_same(self.settings)
        if self._steps_there and asked and not before:
            raise UserError(
                f"{self.output_dir} holds a run that was not started from another one; give another --output_dir to "
                f"start from {asked}, or leave --warm_start_from out to go on with this one"
            )
        if self._steps_there or not self._trains:
            return None
        if before and not asked:
            raise UserError(
                f"{self.output_dir} is to start from {before.source}, and has no checkpoint yet; give "
                "--warm_start_from again, or another --output_dir"
            )
        return open_source(self.settings, self.run_record, self.processes) if asked else None

    def _start_from(self, source, optimizer):
        """Takes over the weights of another run; the problems are scored before the first update."""
        vocabulary = next(filter(None, (store.vocabulary() for store in self.stores.values())), None)
        self.warm_start = warm_start(source, self.settings, self.model, optimizer, self.run_record, vocabulary)
        print(self.warm_start.lines())
        self.step = self.warm_start.first_step
        if self.settings.keep_optimizer:
            go_on_with_data(self.stream, self.window, source)
        self._evaluation_due = self.settings.schedule == "train_and_evaluate"

    def _check_not_trained_since(self):
        """Raises `UserError` where the checkpoints are others than those that this run was restored from."""
        if checkpoints.steps(self.directory.checkpoints) != self._steps_there:
            raise UserError(
                f"{self.output_dir} was trained by another process while this one started; run the same command again"
            )

    def _write_directory(self):
        """Writes what says what the run is; checkpoints newer than that restored from are damaged, and set aside."""
        for step in self._steps_there:
            if step > self.step:
                place = checkpoints.set_aside(self.directory.checkpoints, step)
                print(f"warning: the damaged checkpoint of step {step} was moved to {place}", file=sys.stderr)
        resolved, data_dir = self.settings.resolved, self.settings.data_dir
        self.directory.write(self.run_record, resolved, self.stores, data_dir, step=self.step)
        if self.warm_start and not self._steps_there:
            self.warm_start.write(self.output_dir)

    def _draw_curves(self):
        headlines = {name: p.metrics[0] for name, p in self.run_record.problems.items()}
        try:
            draw_learning_curves(self.output_dir, headlines)
        except Exception as error:  # a picture of the log, whatever that holds, stops no run
            said = f"{getattr(error, 'strerror', None) or error}"
            print(f"warning: the learning curves can't be drawn in {self.output_dir} ({said})", file=sys.stderr)
