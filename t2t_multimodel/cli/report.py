"""Writes the report of a run: scores, learning curves, examples, attention, experts, mixing, settings, environment.

Writes OUTPUT_DIR/report.html, one self-contained file (no network, no script), and OUTPUT_DIR/report.md with its text
and tables. The newest checkpoint is scored as by t2t-eval, and examples, attention and the use of experts are shown, on
the data that the run was trained on. If this data is gone, or with --skip_data, the report uses only the run directory,
and says so.

Examples:
  t2t-report --output_dir=run
  t2t-report --output_dir=run --problem=tiny_ende,tiny_caption --examples=12 --eval_batches=10
  t2t-report --output_dir=run --problem=tiny_ende --attention_keys=test-3,test-17
  t2t-report --output_dir=run --skip_data --report=page.html
"""

import math
import sys
from pathlib import Path

from t2t_multimodel import startup
from t2t_multimodel.cli.command import DECODE_HPARAMS, Command

_LEFT_OUT = "Trivial answers, examples, attention and the use of experts are left out"
# The values in the log of an evaluation that are not metrics.
_NO_METRICS = ("step", "problem", "examples_seen", "train_seconds")
_MOST_GIN_BYTES = 1 << 20

command = Command("t2t-report", __doc__)

command.group("What to show")
command.text("output_dir", None, "the run directory of t2t-trainer", metavar="DIR", required=True)
command.text(
    "data_dir",
    None,
    "folder that t2t-datagen filled; default: the one of the training, if it is unchanged",
    metavar="DIR",
)
command.switch("skip_data", "do not read the data: a report from the run directory only, in seconds")
command.text("problem", None, "problems or mixtures of the run; default: all", metavar="NAMES")
command.integer("step", None, "the checkpoint of this step; default: the newest", at_least=0)
command.text("split", None, "split to score and show; default: test if a problem has one, else dev", metavar="SPLIT")
command.integer("eval_batches", 0, "batches of each problem to score; 0 = all", at_least=0)
command.text("decode_hparams", "", DECODE_HPARAMS, metavar="SETTINGS")
command.integer("examples", 6, "number of examples of each problem", at_least=0)
command.integer("attention", 1, "number of attention maps of each problem", at_least=0)
command.text(
    "attention_keys",
    "",
    "attention maps of the examples with these keys instead, separated by commas",
    metavar="KEYS",
)

command.group("Where")
command.text(
    "report", None, "path of the HTML file, with the .md beside it; default: OUTPUT_DIR/report.html", metavar="FILE"
)

command.standard_flags()


def main(argv=None):
    return command.run(_report, argv)


def _report(flags):
    from t2t_multimodel import hyperparameters, mixture
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.run_directory import RunDirectory

    directory = RunDirectory(flags.output_dir)
    output_dir, run, resolved = directory.path, directory.run(), directory.resolved()
    names = mixture.parse(flags.problem).problem_names if flags.problem else tuple(run.problems)
    for name in names:
        run.problem(name)
    if flags.skip_data and (flags.data_dir or flags.attention_keys):
        raise UserError("--skip_data can't be combined with --data_dir or --attention_keys")
    path = Path(flags.report or output_dir / "report.html")
    if path.suffix != ".html" or path.is_dir():
        raise UserError(f"--report={path} must be the name of a file that ends in .html")
    step = checkpoints.latest(output_dir / "checkpoints") if flags.step is None else flags.step
    if step is None:
        raise UserError(
            f"{output_dir} holds no checkpoint yet; train with t2t-trainer, or wait for its first --save_interval"
        )

    startup.import_backend()
    from t2t_multimodel.decode_hparams import decode_settings

    decode = hyperparameters.parse(flags.decode_hparams, "--decode_hparams")
    decode_settings(decode)  # raises
    page = _page(flags, output_dir, run, resolved, names, step, decode)
    page.write(path)
    page.write_markdown(path.with_suffix(".md"))
    print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB) and {path.with_suffix('.md')}")


def _page(flags, output_dir, run, resolved, names, step, decode):
    from t2t_multimodel.cli import model_report
    from t2t_multimodel.decode_hparams import check_ctc, decode_settings, describe
    from t2t_multimodel.report import run_page
    from t2t_multimodel.report.page import Page
    from t2t_multimodel.training import environment
    from t2t_multimodel.training.metrics_log import read_metrics
    from t2t_multimodel.training.run_directory import RunDirectory

    records = list(read_metrics(output_dir, lambda said: print(f"{command.name}: warning: {said}", file=sys.stderr)))
    # Errors in data and flags are raised before anything slow starts.
    stores, missing = _stores(flags, output_dir, run, names)
    for store in stores.values():
        store.split(flags.split or store.evaluation_split)
    how = set()
    for name in names:
        known = run.problem(name)
        settings = decode_settings(decode, known.decode_hparams, name)
        check_ctc(settings, known.spec, resolved.hparams.ctc_weight > 0)
        if known.spec.targets.uses_vocabulary:
            how.add(describe(settings, known.spec.grammar))
    keys = list(dict.fromkeys(filter(None, map(str.strip, flags.attention_keys.split(",")))))
    rows = model_report.rows_of(keys, resolved.hparams, stores, flags.split) if keys else None
    model, run, hparams, step = RunDirectory(output_dir).load_model(step)

    plural = "" if len(names) == 1 else "s"
    page = Page(f"Report on {output_dir.resolve().name}", f"{len(names)} problem{plural}, {step:,} updates")
    run_page.add_overview(page, _facts(run, resolved, names, step, model, records), missing)
    if stores:
        collected = model_report.collect(
            model, run, hparams, stores, flags.split, flags.eval_batches, decode, flags.examples, flags.attention, rows
        )
        some = f", the first {flags.eval_batches} batches of each problem" if flags.eval_batches else ""
        texts = f" Text: {' or '.join(sorted(how))}." if how else ""
        run_page.add_scores(page, collected.scores, collected.trivial, f"Decoded at step {step:,}{some}.{texts}")
    else:
        run_page.add_scores(page, *_known_scores(output_dir, run, names, step, records))
    headlines = {name: run.problem(name).metrics[0] for name in names}
    run_page.add_curves(page, records, headlines)
    if stores:
        run_page.add_examples(page, collected.cards)
        run_page.add_attention(page, collected.maps, _why_no_maps(flags, hparams, stores))
        name = "dropped_token_fraction"
        dropped = {r["problem"]: r[name] for r in records if r["split"] == "train" and "problem" in r and name in r}
        run_page.add_experts(page, collected.loads, dropped)
    run_page.add_mixing(page, records)
    run_page.add_configuration(page, resolved, _about(run), _gin_file(output_dir))
    run_page.add_environment(page, RunDirectory(output_dir).environments(), environment.describe())
    return page


def _stores(flags, output_dir, run, names):
    """({problem: its `ExampleStore`}, ""), or ({}, what the page lacks and why)."""
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.training.evaluation import open_stores, recalled_stores
    from t2t_multimodel.training.run_directory import NoData

    if flags.data_dir:
        return open_stores(flags.data_dir, run, names), ""
    if flags.skip_data:
        return {}, f"{_LEFT_OUT}: asked for by --skip_data. Without that flag they are on the page."
    try:
        stores = recalled_stores(output_dir, run, names)
    except NoData as why:
        if flags.attention_keys:
            raise UserError(f"--attention_keys needs data, and {why}; give --data_dir=DIR") from None
        missing = f"{_LEFT_OUT}: {why}. They are on the page with --data_dir=DIR."
        print(missing + (f" ({why.note})" if why.note else ""))
        return {}, missing
    print(f"data: {next(iter(stores.values())).data_dir}, on which it was trained")
    return stores, ""


def _why_no_maps(flags, hparams, stores):
    """A sentence that says why the page has no attention maps."""
    if not hparams.use_attention:
        return "This model has no attention."
    if not any(store.spec.targets.uses_vocabulary for store in stores.values()):
        return "No problem of this report writes text."
    return "No example was scored." if flags.attention else "None was asked for (--attention=0)."


def _facts(run, resolved, names, step, model, records):
    from t2t_multimodel.report import run_page

    weights = sum(math.prod(v.shape) for v in model.trainable_variables)
    sets = {source.removeprefix("set ") for source in resolved.sources.values() if source.startswith("set ")}
    facts = [
        ("problems", ", ".join(names)),
        ("updates", f"{step:,} of {resolved.hparams.train_steps:,}"),
        ("trained weights", f"{weights:,}"),
        ("hparams set", ", ".join(sorted(sets))),
        ("training time, about", run_page.run_time(records)),
        ("seed", str(run.seed)),
        ("backend", run.backend),
    ]
    return [(name, text) for name, text in facts if text]


def _about(run):
    rows = [("model", run.model), ("seed", run.seed), ("backend", run.backend)]
    for name, problem in sorted(run.problems.items()):
        spec = problem.spec
        rows.append(
            (
                name,
                f"{spec.inputs.weights_name} → {spec.targets.weights_name}; metrics {', '.join(problem.metrics)}; data "
                f"{problem.digest[:16]}",
            )
        )
    return rows


def _gin_file(output_dir):
    """{name: text} of the run's gin file, which a page shows and nothing reads; {} where there is none to show."""
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.json_files import read_bytes
    from t2t_multimodel.training.run_directory import GIN_FILE

    try:
        return {GIN_FILE: read_bytes(output_dir / GIN_FILE, limit=_MOST_GIN_BYTES).decode("utf-8", "replace")}
    except UserError:
        return {}


def _known_scores(output_dir, run, names, step, records):
    """(scores, no baselines, a remark) without data: from t2t-eval, else from the last evaluations of training."""
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.json_files import MissingFile, read_json

    try:
        scores = read_json(output_dir / "eval" / f"step-{step}.json", {str: {str: (str, float, None)}})
        scores = {name: _headline_first(run, name, scores[name]) for name in names if scores.get(name)}
        if scores:
            return scores, {}, f"As t2t-eval found at step {step:,}."
    except MissingFile:
        pass
    except UserError as error:
        print(f"{command.name}: warning: {error}", file=sys.stderr)
    scores = {}
    for record in records:
        if record.get("problem") in names and record["split"] != "train":
            values = {key: value for key, value in record.items() if key not in _NO_METRICS}
            scores[record["problem"]] = _headline_first(run, record["problem"], values)
    return scores, {}, "Of the last evaluation in training."


def _headline_first(run, name, values):
    headline = run.problem(name).metrics[0]
    return {headline: values[headline]} | values if headline in values else values


if __name__ == "__main__":
    sys.exit(main())
