"""The trainer: restore; then draw, update, log, evaluate, save, until the last step."""

import math
import signal
import threading
import time

import keras

from t2t_multimodel.errors import DivergedError, UserError
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.mixture import MixtureSchedule
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.clock import TrainingClock, seconds_logged
from t2t_multimodel.training.early_stopping import EarlyStopping
from t2t_multimodel.training.evaluation import Evaluator
from t2t_multimodel.training.optimizer import learning_rate, make_optimizer
from t2t_multimodel.training.reporting import MetricsLog, Progress, draw_learning_curves, read_metrics
from t2t_multimodel.training.run import Run, build_model, load_variables
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.training.run_settings import RunSettings

RESUME_ME = 75  # exit status after SIGTERM: saved, the same command continues (EX_TEMPFAIL)


class Trainer:
    """Trains one model on a mixture. A run killed at any moment goes on to the same bits as one that was not."""

    def __init__(self, settings: RunSettings) -> None:
        """Opens the data, makes the model, restores the newest checkpoint. Nothing of the run directory changes yet.

        Args:
          settings: a `RunSettings`.

        Raises:
          UserError: missing data, a run directory of another run, damaged checkpoints.
        """
        self.settings = settings
        self.hparams = settings.resolved.hparams
        self.directory = RunDirectory(settings.output_dir)
        self.output_dir = self.directory.path
        self.stores = {name: ExampleStore(settings.data_dir, name) for name in settings.mixture.problem_names}
        self.run_record = Run.of(settings.model, settings.seed, keras.backend.backend(), self.stores)
        self.directory.check_continuation(self.run_record, settings.resolved)
        self.early_stopping = EarlyStopping(
            settings.early_stopping_metric, settings.early_stopping_patience, self.run_record.problems
        )
        self.backend = adapter()
        self.stream = self._open_stream()
        # The order of what follows is part of exact repetition: seed, weights, then whatever a checkpoint says.
        self.backend.seed(settings.seed)
        self.model = build_model(self.run_record, self.hparams)
        optimizer = make_optimizer(self.hparams, self.model.trainable_variables)
        self.train_step = self.backend.Step(self.model, optimizer, self.hparams)
        self.evaluator = Evaluator(self.model, self.run_record, self.hparams, self.train_step)
        self.step = 0
        self.terminated = False
        self._restore()
        seconds = seconds_logged(read_metrics(self.output_dir), self.step)
        self.clock = TrainingClock(seconds, self.backend.STATIC_SHAPES)

    def run(self) -> int:
        """Trains, or evaluates, as `settings.schedule` says.

        Returns:
          The exit status: 0, or `RESUME_ME` where SIGTERM ended it early (the step was finished and saved).

        Raises:
          UserError: the loss of a batch is not finite, or a batch has nothing to learn from. The last checkpoint stays.
        """
        self.directory.write(
            self.run_record, self.settings.resolved, self.stores, self.settings.data_dir, step=self.step
        )
        # Only the main thread can be told of signals; a notebook may train in another one.
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, self._terminate) if main else None
        try:
            with MetricsLog(self.output_dir, self.step) as log:
                if self.settings.schedule == "evaluate":
                    self._evaluate(log)
                    return 0
                return self._train(log)
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)
            self.stream.close()

    def _train(self, log):
        """Draw, update, log, evaluate, save."""
        settings, last = self.settings, self.hparams.train_steps
        saved = self.step if self.step else None
        window = LossWindow()
        with Progress(last, list(self.stores), self.step) as progress:
            while self.step < last and not self.terminated and not self.early_stopping.stopped:
                self.clock.start()
                batches = self.stream.microbatches(self.step)
                microbatches = [(self.run_record.problems[batch.problem].spec, batch.arrays) for batch in batches]
                reports, norm = self.train_step.update(microbatches, learning_rate(self.hparams, self.step, last))
                self.clock.stop(microbatches)
                self._check(batches, reports)
                for batch, report in zip(batches, reports):
                    self.stream.record_loss(batch.problem, report["cross_entropy"])
                self.step += 1
                window.add(batches, reports, norm)
                progress.update(self.step, *window.latest)
                if self.step % settings.log_interval == 0 or self.step == last:
                    rate = learning_rate(self.hparams, self.step - 1, last)
                    window.write(log, self.step, self.stream, rate, self.clock.seconds)
                if settings.schedule == "train_and_evaluate" and (
                    self.step % settings.eval_interval == 0 or self.step == last
                ):
                    self._evaluate(log, progress)
                if self.step % settings.save_interval == 0:
                    self._save()
                    saved = self.step
            if saved != self.step:
                self._save()
        draw_learning_curves(self.output_dir, {name: p.metrics[0] for name, p in self.run_record.problems.items()})
        if self.early_stopping.stopped:
            print(f"stopped early at step {self.step}: {self.early_stopping.reason}")
        return RESUME_ME if self.terminated and self.step < last else 0

    def _evaluate(self, log, progress=None):
        """Each problem by itself, on its dev split; logged, and told to early stopping."""
        scores = {}
        for name, store in self.stores.items():
            split = store.dev_split
            decoding = not self.settings.skip_decoding
            scores[name] = self.evaluator.evaluate(store, split, self.settings.eval_batches, decoding=decoding)
            seen = {"examples_seen": self.stream.examples_seen[name], "train_seconds": self.clock.seconds}
            log.write(self.step, scores[name] | seen, problem=name, split=split)
        self.early_stopping.record(self.step, scores)
        headlines = {}
        for name, store in self.stores.items():
            # With --skip_decoding only those that are teacher-forced are there.
            metrics = (*store.metrics, *store.spec.targets.teacher_forced_metrics)
            headline = next(metric for metric in metrics if metric in scores[name])
            headlines[name] = (headline, scores[name][headline])
        text = f"step {self.step} dev: " + "  ".join(f"{name} {m} {v:.4g}" for name, (m, v) in headlines.items())
        (progress.say if progress else print)(text)

    def _check(self, batches, reports):
        """A run that learns nothing, or from nothing, must not go on unnoticed."""
        for batch, report in zip(batches, reports):
            place = f"problem {batch.problem}, step {self.step + 1}, epoch {batch.epoch}, batch {batch.position}"
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

    # ---- Checkpoints

    def _save(self):
        arrays = {}
        for variable in self.train_step.variables():
            if variable.path in arrays:
                raise RuntimeError(f"two variables are called {variable.path}")
            arrays[variable.path] = keras.ops.convert_to_numpy(variable)
        state = {"step": self.step, "stream": self.stream.state(), "early_stopping": self.early_stopping.state()}
        checkpoints.save(self.directory.checkpoints, self.step, arrays, state)
        checkpoints.prune(self.directory.checkpoints, self.settings.keep_checkpoints)

    def _restore(self):
        folder = self.directory.checkpoints
        newest = checkpoints.latest(folder)
        if newest is None:
            return
        checkpoint = checkpoints.load(folder, newest, verify=False)
        load_variables(self.train_step.variables(), checkpoint.arrays, folder)
        self.step = checkpoint.state["step"]
        self.stream.restore(checkpoint.state["stream"])
        self.early_stopping.restore(checkpoint.state["early_stopping"])
        print(f"continuing from step {self.step} ({folder})")

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

    def _terminate(self, *_):
        self.terminated = True


class LossWindow:
    """Sums of what updates report, between two lines of the log."""

    def __init__(self):
        self.latest: tuple[dict[str, float], int] = (
            {},
            0,
        )  # losses and tokens of the newest update, for the progress bar
        self._clear()

    def _clear(self):
        self._started = time.monotonic()
        self._sums, self._steps, self._norm = {}, 0, 0.0

    def add(self, batches, reports, norm):
        self._steps += 1
        self._norm += norm
        for batch, report in zip(batches, reports):
            sums = self._sums.setdefault(
                batch.problem, dict.fromkeys(("draws", "input_tokens", "target_tokens", *report), 0.0)
            )
            sums["draws"] += 1
            sums["input_tokens"] += batch.input_tokens
            sums["target_tokens"] += batch.target_tokens
            for name, value in report.items():
                sums[name] += value
        tokens = sum(batch.input_tokens + batch.target_tokens for batch in batches)
        self.latest = ({b.problem: r["cross_entropy"] for b, r in zip(batches, reports)}, tokens)

    def write(self, log, step, stream, rate, train_seconds):
        """Logs what was summed: of each problem drawn, and of the run; `train_seconds` is what the clock says."""
        shares = stream.shares()
        seconds = max(time.monotonic() - self._started, 1e-9)
        tokens = 0
        for problem, sums in self._sums.items():
            planned, actual = shares[problem]
            means = {
                name: sums[name] / sums["draws"]
                for name in ("loss", "cross_entropy", "load_balance_loss", "dropped_token_fraction")
            }
            log.write(
                step,
                means
                | {
                    "draws": sums["draws"],
                    "share_planned": planned,
                    "share_actual": actual,
                    "examples_seen": stream.examples_seen[problem],
                },
                problem=problem,
            )
            tokens += sums["input_tokens"] + sums["target_tokens"]
        run = {"learning_rate": rate, "gradient_norm": self._norm / self._steps}
        speed = {"tokens_per_second": tokens / seconds, "steps_per_second": self._steps / seconds}
        log.write(step, run | speed | {"train_seconds": train_seconds})
        self._clear()
