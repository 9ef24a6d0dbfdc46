"""The trainer: restore; then draw, update, log, evaluate, save, until the last step."""

import contextlib
import math
import sys

import keras
import numpy as np

from t2t_multimodel.errors import DivergedError, UserError
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.mixture import MixtureSchedule
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.backend import adapter, chosen_devices, scope
from t2t_multimodel.training.clock import TrainingClock, seconds_logged
from t2t_multimodel.training.early_stopping import EarlyStopping
from t2t_multimodel.training.evaluation import Evaluator
from t2t_multimodel.training.forgetting import scores_before_and_after
from t2t_multimodel.training.loss_window import LossWindow
from t2t_multimodel.training.metrics_log import MetricsLog, read_metrics
from t2t_multimodel.training.optimizer import learning_rate, make_optimizer
from t2t_multimodel.training.parts import set_parts
from t2t_multimodel.training.pending import PendingUpdates
from t2t_multimodel.training.reporting import Progress, draw_learning_curves
from t2t_multimodel.training.run import Run, build_model, load_variables
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.training.run_settings import RunSettings
from t2t_multimodel.training.stopping import INTERRUPTED, RESUME_ME, Stop, StopSignals
from t2t_multimodel.training.warm_start import WarmStart, go_on_with_data, open_source, warm_start
from t2t_multimodel.training.workers import workers_with_weights

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
        if self._trains:
            self.directory.check_free()
        self.stores = {name: ExampleStore(settings.data_dir, name) for name in settings.mixture.problem_names}
        self.run_record = Run.of(settings.model, settings.seed, keras.backend.backend(), self.stores)
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
        self.stream = self._open_stream()
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
        self._restore()
        if source is not None:
            self._start_from(source, optimizer)
        seconds = seconds_logged(read_metrics(self.output_dir), self.step)
        self.clock = TrainingClock(seconds, self.backend.STATIC_SHAPES)

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
            stop = stop or ending.enter_context(StopSignals())
            stop.training(saves=self._trains)
            self.evaluator.check_stop = stop.check
            ending.callback(setattr, self.evaluator, "check_stop", lambda: None)
            if not self._trains:
                return self._evaluate_only(stop)
            ending.enter_context(self.directory.lock())
            self._check_not_trained_since()
            self._write_directory()
            log = ending.enter_context(MetricsLog(self.output_dir, self.step))
            return self._train(log, stop)

    def _train(self, log, stop):
        """Draw, update, log, evaluate, save."""
        settings, last = self.settings, self.hparams.train_steps
        self._saved_step = self.step if self.step in self._steps_there else None
        with Progress(last, list(self.stores), self.step) as progress:
            pending = self._pending_updates(progress)
            if self._evaluation_due and settings.schedule == "train_and_evaluate":
                self._evaluate_unless_stopped(log, progress)
            while self.step < last and not stop.status and not self.early_stopping.stopped:
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
        self._draw_curves()
        if self.early_stopping.stopped:
            print(f"stopped early at step {self.step}: {self.early_stopping.reason}")
        if self.best.best is not None:
            print(f"best {self.best.metric}: {self.best.best:.6g} at step {self.best.best_step}, which is kept")
        if self.warm_start and settings.schedule == "train_and_evaluate":
            print(scores_before_and_after(self.warm_start, self.run_record, self.output_dir))
        return stop.status if self.step < last or self._evaluation_due else 0

    def _pending_updates(self, progress):
        def done(step, batches, reports, norm):
            self._check(step, batches, reports)
            for batch, report in zip(batches, reports):
                self.stream.record_loss(batch.problem, report["cross_entropy"])
            self.window.add(batches, reports, norm)
            progress.update(step, *self.window.latest)

        adaptive = self.hparams.mixture == "adaptive"  # a draw needs the loss of the update before
        return PendingUpdates(0 if adaptive else self.backend.UPDATES_UNDER_WAY, done)

    def _update(self, pending):
        """One update; it may be under way when this returns. That of a new graph is compiled with none beside it."""
        self.clock.start()
        batches = self.stream.microbatches(self.step)
        microbatches = [(self.run_record.problems[batch.problem].spec, batch.arrays) for batch in batches]
        first = self.clock.is_first(microbatches)
        if first and pending:
            self._finish(pending)
            self.clock.start()
        rate = learning_rate(self.hparams, self.step, self.hparams.train_steps)
        reports, norm = self.train_step.update(microbatches, rate)
        self.step += 1
        pending.add(self.step, batches, reports, norm)
        if pending.read(all_of_them=first):
            self.clock.stop(counts=not first)

    def _finish(self, pending):
        """Waits for the updates under way: what is logged, evaluated or saved was checked to be finite."""
        pending.read(all_of_them=True)
        self.clock.stop()

    def _evaluate_only(self, stop):
        """Evaluates a run that another process may be training: nothing of it changes, lines are added to its log."""
        if not self.directory.exists():
            with contextlib.suppress(UserError), self.directory.lock():  # one that is locked is being written
                self._write_directory()
        with MetricsLog(self.output_dir, self.step, append_only=True) as log:
            try:
                self._evaluate(log)
            except Stop:
                return stop.status
        return 0

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
        decoding = not self.settings.skip_decoding
        self._give_weights_to_workers()
        scores = self.evaluator.evaluate_all(
            self.stores, splits, eval_batches=self.settings.eval_batches, decoding=decoding
        )
        for name in scores if progress is not None else ():  # not of a run that another process trains
            self._check_scores(name, scores[name])
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

    def _give_weights_to_workers(self):
        """Has worker processes evaluate with the weights of now, where the settings ask for some."""
        count = self.settings.eval_workers
        if count > 1:
            self.train_step.variables()  # which on JAX gives the model its weights
            vocabulary = next(filter(None, (store.vocabulary() for store in self.stores.values())), None)
            of_now = self.evaluator.workers, count, self.model, self.run_record, self.hparams, vocabulary
            self.evaluator.workers = workers_with_weights(*of_now)

    def _check(self, step, batches, reports):
        """A run that learns nothing, or from nothing, must not go on unnoticed."""
        for batch, report in zip(batches, reports):
            place = f"problem {batch.problem}, step {step}, epoch {batch.epoch}, batch {batch.position}"
            if not math.isfinite(report["loss"]):
                raise DivergedError(
                    f"the loss is {report['loss']} ({place}); the last checkpoint is as it was: "
                    "lower learning_rate or clip_norm, "
                    f"or look at that batch"
                )
            if report["weight"] == 0:
                raise UserError(f"a batch without targets ({place}); look at the data: t2t-datagen --verify")
            if report["loss"] == 0.0:
                raise UserError(f"the loss is exactly 0 ({place}): nothing is left to learn, or the targets are wrong")

    def _check_scores(self, problem, scores):
        """The losses of updates were finite, but not what the last one made of the weights."""
        for name, value in scores.items():
            if name.startswith("teacher_forced") and not math.isfinite(value):
                raise DivergedError(
                    f"the {name} of {problem} is {value} after step {self.step}; the last checkpoint is as it was: "
                    "lower learning_rate or clip_norm"
                )

    # ---- Checkpoints

    def _save_once(self):
        if self._saved_step != self.step:
            self._save()

    def _save(self):
        arrays = {}
        for variable in self.train_step.variables():
            if variable.path in arrays:
                raise RuntimeError(f"two variables are called {variable.path}")
            arrays[variable.path] = keras.ops.convert_to_numpy(variable)
        for path in (variable.path for variable in self.model.trainable_variables):
            if not np.isfinite(arrays[path]).all():
                raise DivergedError(
                    f"the weights {path} are not finite after step {self.step}; the last checkpoint is as it was: "
                    "lower learning_rate or clip_norm"
                )
        state = {
            "step": self.step,
            "stream": self.stream.state(),
            "early_stopping": self.early_stopping.state(),
            "window": self.window.state(),
            "keep_best": self.best.state(),
        }
        if self._evaluation_due:
            state["evaluation_due"] = True
        checkpoints.save(self.directory.checkpoints, self.step, arrays, state)
        best = () if self.best.best is None else (self.best.best_step,)
        checkpoints.prune(self.directory.checkpoints, self.settings.keep_checkpoints, spared=best)
        self._saved_step = self.step

    def _restore(self):
        folder = self.directory.checkpoints
        checkpoint = checkpoints.load_latest(folder)
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
            self.stream.restore(state["stream"])
            self.early_stopping.restore(state["early_stopping"])
            if "window" in state:  # older checkpoints have none
                self.window.restore(state["window"])
            if "keep_best" in state and state["keep_best"]["best_step"] in self._steps_there:
                self.best.restore(state["keep_best"])
            self._evaluation_due = state.get("evaluation_due") is True
        self.step = checkpoint.step
        print(f"continuing from step {self.step} ({folder})")

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
        return open_source(self.settings, self.run_record) if asked else None

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

    def _open_stream(self):
        few = self.backend.STATIC_SHAPES
        streams = {
            name: BatchStream(store, "train", self.hparams, self.settings.seed, bucket=few)
            for name, store in self.stores.items()
        }
        for name, stream in streams.items():
            if stream.left_out:
                print(
                    f"{name}: {stream.left_out} of {stream.left_out + len(stream)} training examples are longer than "
                    f"max_input_length, max_target_length or max_audio_seconds and left out"
                )
        sizes = {name: len(stream) for name, stream in streams.items()}
        return MixtureStream(streams, MixtureSchedule(self.settings.mixture, self.hparams, sizes), self.settings.seed)
