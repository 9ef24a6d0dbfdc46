"""What the host does for a training step on JAX beside the device: from a step that is ready to the next one begun.

    python benchmarks/host_work.py [--hidden=128 --experts=16 --steps=60]

The model of full paper depth and one small text problem, trained as the trainer does it: is the program there, the
learning rate, the call of the program with all variables, the reports of two updates before, sums, display. The batches
were made beforehand.

All times are processor time of the thread that does this, so neither its waits nor the time of other programs on the
machine are in them (though those take their part of the caches). Nor is the step's computation, where the device is a
processor: other threads do that (`other_threads_ms`), and were it done in the call, `call_ms` would have it. All
updates under way are waited for before each step.

The limit is JAX's own work: a call of a program that takes as many arrays, gives each back in its own memory and
computes nothing. It is called after each step, as updates are, when the step has emptied the processor's caches too.
"""

import argparse
import importlib.util
import io
import os
import time

os.environ["KERAS_BACKEND"] = "jax"

from common import body, figure, make_model, median, not_run, report, text_batch, text_problem  # noqa: E402

MOST = 1.0  # the mark, in ms


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=16, help="ids a side")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--hparams", default="", help='changes: "name=value,name=value"')
    flags = parser.parse_args(argv)
    if importlib.util.find_spec("jax") is None:
        not_run("JAX is not installed")
    training = Training(flags)
    training.steps(5)  # the program, and the first calls
    parts = training.steps(flags.steps)
    host = {name: 1000 * median(values) for name, values in parts.items()}
    arrays = training.arrays
    figures = [
        figure(
            f"host's work beside a step, JAX, hidden {flags.hidden}",
            host["all"],
            "ms",
            at_most=MOST,
            limit=host["empty"],
            limit_is=f"a call with {arrays:,} arrays that computes nothing",
        )
    ]
    report("host_work", figures, arrays=arrays, **{f"{name}_ms": value for name, value in host.items()})


class Training:
    """A model, and what the trainer does around each of its updates."""

    def __init__(self, flags):
        from t2t_multimodel import hyperparameters
        from t2t_multimodel.input.batching import Batch
        from t2t_multimodel.training.backend import adapter
        from t2t_multimodel.training.loss_window import LossWindow
        from t2t_multimodel.training.optimizer import make_optimizer
        from t2t_multimodel.training.pending import PendingUpdates
        from t2t_multimodel.training.programs import Programs
        from t2t_multimodel.training.reporting import Progress

        changes = hyperparameters.parse(flags.hparams)
        self.hparams, self.spec = body(flags.hidden, flags.experts, **changes), text_problem()
        model, backend = make_model(self.hparams, [self.spec]), adapter()
        optimizer = make_optimizer(self.hparams, model.trainable_variables)
        self.train_step = backend.Step(model, optimizer, self.hparams)
        self.arrays = len(self.train_step.variables())
        self.empty = Empty(self.arrays)
        arrays = text_batch(flags.rows, flags.length)
        rows, tokens = arrays["command"], arrays["inputs"].size
        self.batch = Batch(arrays, self.spec.name, 0, 0, len(rows), rows, tokens, tokens)
        self.window = LossWindow()
        self.programs = Programs(self.train_step, None, {}, backend.STATIC_SHAPES)
        self.progress = Progress(10**6, [self.spec.name], stream=io.StringIO())
        self.pending = PendingUpdates(backend.UPDATES_UNDER_WAY, self.done)
        self.step = 0

    def done(self, step, batches, reports, norm):
        from t2t_multimodel.training.checks import check_update

        check_update(step, batches, reports)
        self.window.add(batches, reports, norm)
        self.progress.programs(*self.programs.counts)
        self.progress.update(step, *self.window.latest)

    def wait(self):
        """Waits for all updates under way."""
        import jax

        jax.block_until_ready(self.train_step._values)

    def steps(self, count):
        """Makes updates; {part: processor seconds of it in each}, of this thread but for "other_threads"."""
        from t2t_multimodel.training.optimizer import learning_rate

        times = {"call": [], "reports": [], "all": [], "empty": [], "other_threads": []}
        for _ in range(count):
            everything, start = time.process_time(), time.thread_time()
            microbatches = [(self.spec, self.batch.arrays)]
            self.programs.is_new(microbatches)
            rate = learning_rate(self.hparams, self.step, 10**6)
            before = time.thread_time()
            reports, norm = self.train_step.update(microbatches, rate)
            called = time.thread_time()
            self.programs.used(microbatches)
            self.step += 1
            self.pending.add(self.step, [self.batch], reports, norm)
            late = time.thread_time()
            self.pending.read()
            end = time.thread_time()
            self.wait()
            others = time.process_time() - everything - (time.thread_time() - start)
            empty = self.empty.call()
            of_parts = {"call": called - before, "reports": end - late, "all": end - start}
            for name, seconds in (of_parts | {"empty": empty, "other_threads": others}).items():
                times[name].append(seconds)
        return times


class Empty:
    """A program that takes and gives so many arrays, each in its own memory, and computes nothing."""

    def __init__(self, arrays):
        import jax

        self._program = jax.jit(lambda values: values, donate_argnums=0)
        self._values = [jax.numpy.full(1, index, "float32") for index in range(arrays)]

    def call(self):
        """Processor seconds of one call, of this thread."""
        start = time.thread_time()
        self._values = self._program(self._values)
        return time.thread_time() - start


if __name__ == "__main__":
    main()
