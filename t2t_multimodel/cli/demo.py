"""The demo: generates the data of the eight problems of tiny8, trains one model, prints scores and decoded examples.

Examples:
  python -m t2t_multimodel.cli.demo
  python -m t2t_multimodel.cli.demo --output_dir=my_demo
"""

import contextlib
import sys
import time
from pathlib import Path

from t2t_multimodel import compile_cache, startup
from t2t_multimodel.cli.command import Command

MIXTURE, HPARAMS_SET = "tiny8", "multimodel_tiny"
DEMO_STEPS = 4500  # at most 6 minutes on 2 cores
SHOWN = ("tiny_ende", "tiny_parse", "tiny_caption")  # problems with a printed example

command = Command("demo", __doc__)
command.group("What to do")
command.text("output_dir", "demo", "folder for the data (data/) and the run (run/)", metavar="DIR")
command.integer("train_steps", DEMO_STEPS, "updates", at_least=1)
command.integer("seed", 0, "seed of weights, data order and draws", at_least=0)
command.standard_flags()


def main(argv=None):
    return command.run(_demo, argv)


def _demo(flags):
    from t2t_multimodel import mixture
    from t2t_multimodel.cli import datagen, trainer

    folder = Path(flags.output_dir)
    data_dir, run = folder / "data", folder / "run"
    problems = mixture.parse(MIXTURE).problem_names
    compile_cache.begin()  # before the data is made, which imports TensorFlow
    clock = _Clock()

    where = [f"--problem={MIXTURE}", f"--data_dir={data_dir}"]
    with clock.phase("prepare the data"):
        _check(datagen.main(where))
    with clock.phase("train"):
        _check(
            trainer.main(
                [
                    *where,
                    f"--output_dir={run}",
                    f"--hparams_set={HPARAMS_SET}",
                    f"--train_steps={flags.train_steps}",
                    f"--seed={flags.seed}",
                    f"--eval_interval={max(1, flags.train_steps // 4)}",
                    "--eval_batches=4",
                    f"--backend={flags.backend or startup.BACKENDS[0]}",
                ]
            )
        )

    from t2t_multimodel.cli.baselines import baselines
    from t2t_multimodel.cli.evaluate import headline_table, write_scores
    from t2t_multimodel.input.store import ExampleStore
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.evaluation import evaluate_run
    from t2t_multimodel.training.reporting import CURVES_FILE

    with clock.phase("score the test scenes"):
        step, decoded = checkpoints.latest(run / "checkpoints"), {}
        scores = evaluate_run(run, problems, data_dir, step=step, examples=decoded)
        write_scores(scores, run, step)
    with clock.phase("score the trivial answers"):
        trivial = {name: baselines(data_dir, name) for name in problems}

    print(f"\nOne model, {len(problems)} problems, {step} updates; scenes that it has never seen:\n")
    print(headline_table(scores, trivial))
    for name in SHOWN:
        print("\n" + _example(ExampleStore(data_dir, name), decoded[name], folder))
    print(f"\nlearning curves: {run / CURVES_FILE}\n{clock}")


def _example(store, decoded, folder):
    """The first example of the test split: the input, the model's answer, the right answers."""
    import numpy as np

    stored = store.split(store.evaluation_split).examples(np.array([0]))[0]
    example = next(e for e in decoded if e["key"] == stored["key"])
    given = example["input"]
    kind, media = store.spec.inputs.media(stored["inputs"]) or ("", None)
    if kind == "picture":
        from PIL import Image

        given = folder / f"{store.name}.png"
        Image.fromarray(media).resize((256, 256), Image.Resampling.NEAREST).save(given)
    right = " | ".join(example["references"][:3]) + (" | …" if len(example["references"]) > 3 else "")
    return f"{store.name}\n  input  {given}\n  model  {example['prediction']}\n  right  {right}"


def _check(status):
    """Exits if a phase has failed; it has printed its error."""
    if status:
        raise SystemExit(status)


class _Clock:
    """Measures the time of each phase."""

    def __init__(self):
        self._phases = {}

    @contextlib.contextmanager
    def phase(self, name):
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        yield
        self._phases[name] = time.monotonic() - start

    def __str__(self):
        from t2t_multimodel.training.reporting import format_seconds

        listed = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in self._phases.items())
        return f"{listed}; together {format_seconds(sum(self._phases.values()))} (minutes:seconds)"


if __name__ == "__main__":
    sys.exit(main())
