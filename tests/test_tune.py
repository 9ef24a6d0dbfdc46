"""t2t-tune: ranges are read exactly, bad trials are cut short, a killed search goes on, the best set can be used."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import arguments

from t2t_multimodel import hyperparameters
from t2t_multimodel.cli import settings, tune
from t2t_multimodel.errors import DIVERGED, UserError
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.tuning import space
from t2t_multimodel.tuning.child import LOG_FILE, ChildRun
from t2t_multimodel.tuning.objective import Objective
from t2t_multimodel.tuning.search import Search

optuna = pytest.importorskip("optuna")

BASE = multimodel_tiny()
METRICS = {"p": ("bleu", "teacher_forced_log_perplexity"), "q": ("cer", "teacher_forced_log_perplexity")}
PERPLEXITY = Objective("teacher_forced_log_perplexity", METRICS)
RANGES = "learning_rate=1e-4:1e-2:log,dropout=0.0:0.3"


class Pretended:
    """A trial that evaluates three times at once: the farther from learning rate 1e-3, the worse."""

    def __init__(self, values, steps=(1, 2, 3), offset=0.0):
        worth = abs(math.log10(values["learning_rate"]) + 3) + offset
        self._scores = [(step, {p: {PERPLEXITY.metric: worth + 1 / step} for p in "pq"}) for step in steps]
        self.stopped = False

    def evaluations(self):
        return self._scores

    def ended(self):
        return True, ""

    def stop(self, save=False):
        self.stopped = "saved" if save else "killed"


def search(folder, **more):
    settings = {"ranges": RANGES} | more.pop("settings", {})
    return Search(folder, space.parse(RANGES, BASE), PERPLEXITY, settings, **more)


# ---- Ranges


@pytest.mark.parametrize(
    "text, written",
    [
        ("hidden_size=64:256", "hidden_size=64:256:32"),  # the field's own step
        ("hidden_size=64:250:64", "hidden_size=64:192:64"),
        ("learning_rate=1e-4:1e-2:log", "learning_rate=0.0001:0.01:log"),
        ("dropout=0:0.3:0.1", "dropout=0:0.3:0.1"),
        ("image_norm=features|picture", "image_norm='features'|'picture'"),
        ("use_experts=true|False", "use_experts=True|False"),
        ("image_stem_filters=(16,32)|(32,64)", "image_stem_filters=(16, 32)|(32, 64)"),
        ("dropout", "dropout=0:0.5"),
    ],
)
def test_a_range_is_read(text, written):
    (dimension,) = space.parse(text, BASE)
    assert dimension.written() == written
    assert [d.written() for d in space.parse(written, BASE)] == [written]


@pytest.mark.parametrize(
    "text, words",
    [
        ("hiden_size=64:256", ["hiden_size", "hidden_size"]),
        ("hidden_size=64", ["no range", "hidden_size=LOW:HIGH"]),
        ("hidden_size=64:", ["no range"]),
        ("hidden_size=a:b", ["no range"]),
        ("hidden_size=64:256:log:log", ["no range"]),
        ("hidden_size=64:256:0", ["no range"]),
        ("hidden_size=256:64", ["no room"]),
        ("hidden_size=64:96:64", ["no room"]),
        ("hidden_size=64:256.5", ["whole number"]),
        ("hidden_size=50:100", ["50", "num_heads"]),
        ("learning_rate=0:1:log", ["above 0"]),
        ("learning_rate=nan:1", ["no range"]),
        ("dropout=0:1.5", ["dropout", "[0, 1)"]),
        ("use_experts=0:1", ["use_experts=True|False"]),
        ("image_norm=picture|feature", ["feature", "features"]),
        ("image_norm=picture|picture", ["twice"]),
        ("hidden_size=64|big", ["hidden_size", "int"]),
        ("audio_hop_milliseconds", ["declares no range"]),
        ("dropout,dropout=0:0.1", ["twice"]),
        ("train_steps=10:20", ["--train_steps"]),
        (" , ", ["empty"]),
    ],
)
def test_a_range_that_means_nothing_is_one_line(text, words):
    with pytest.raises(UserError) as error:
        space.parse(text, BASE)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), error.value


@given(st.data())
def test_what_is_suggested_is_valid_and_prints_as_it_was_tried(data):
    text = data.draw(
        st.sampled_from(
            [
                "hidden_size=64:250",
                "num_experts=4:240:log",
                "learning_rate=1e-5:1e-1:log",
                "dropout=0:0.31:0.07",
                "label_smoothing=0.0123456:0.2",
                "expert_filter_size=64:4096:64:log",
                "use_experts=True|False",
            ]
        )
    )
    (dimension,) = space.parse(text, BASE)

    class Trial:
        def suggest_int(self, name, low, high, step):
            return low + step * data.draw(st.integers(0, (high - low) // step))

        def suggest_float(self, name, low, high, log=False, step=None):
            return data.draw(st.floats(low, high))

        def suggest_categorical(self, name, choices):
            return data.draw(st.sampled_from(choices))

    value = dimension.suggest(Trial())
    hparams = hyperparameters.override(BASE, {dimension.name: value}, "test")
    again = hyperparameters.override(BASE, hyperparameters.parse(f"{dimension.name}={value!r}"), "test")
    assert again == hparams and type(value) is type(getattr(HParams, dimension.name))
    if dimension.range:
        assert dimension.range.low <= value <= dimension.range.high


def test_every_declared_range_is_one_that_its_field_can_have():
    for name, declared in hyperparameters.declared_ranges().items():
        assert space.parse(name, replace(HParams(), mixture="size", loss_balance="uncertainty"))[0].range == declared


# ---- The objective


def test_the_objective_is_a_mean_or_one_problems_metric():
    scores = {"p": {"bleu": 10.0, "teacher_forced_log_perplexity": 1.0}, "q": {"teacher_forced_log_perplexity": "nan"}}
    of = lambda text: Objective(text, METRICS)
    assert of("p:bleu").value(scores) == of("p/bleu").value(scores) == of("bleu").value(scores) == 10.0
    assert of("teacher_forced_log_perplexity").value(scores) is None  # not finite
    assert of("p:teacher_forced_log_perplexity").value(scores) == 1.0
    assert (of("bleu").direction, of("q:cer").direction) == ("maximize", "minimize")
    assert of("bleu").needs_decoding and not PERPLEXITY.needs_decoding
    for text, word in (("blue", "bleu"), ("r:bleu", "p, q"), ("p:cer", "bleu")):
        with pytest.raises(UserError, match=word):
            of(text)


# ---- The search


@pytest.mark.slow
def test_the_best_of_the_trials_is_found_and_bad_ones_are_cut_short(tmp_path):
    class Slow(Pretended):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._all, self._shown = self._scores, 0

        def evaluations(self):
            self._shown += 1
            return self._all[: self._shown]

        def ended(self):
            return (True, "") if self._shown >= 3 else None

    started = []
    with search(tmp_path) as tuning:
        reported = []
        tuning.run(lambda values, folder: started.append(Slow(values)) or started[-1], 14, on_result=reported.append)
        best, results = tuning.best(), tuning.results()
    assert len(reported) == 14 and {r.state for r in reported[:4]} == {"complete"}
    assert best == results[0] and best.value == min(r.value for r in results if r.state == "complete")
    cut = [r for r in reported if r.state == "pruned"]
    assert cut and all("median" in r.said for r in cut)
    assert all(started[r.number].stopped == "saved" for r in cut), "what is cut short can be continued"
    median = sorted(r.value for r in reported[:4])[1:3]
    assert all(r.value > median[0] for r in cut)
    assert {r.number for r in results} == set(range(14))


@pytest.mark.parametrize("keep, kept", [(0, 5), (1, 1), (3, 3)])
def test_checkpoints_of_all_trials_are_kept_or_of_the_best(tmp_path, keep, kept):
    def start(values, folder):
        (folder / "checkpoints" / "step-3").mkdir(parents=True)
        return Pretended(values)

    with search(tmp_path, keep_checkpoints=keep) as tuning:
        tuning.run(start, 5, on_result=lambda result: None)
        best = {result.number for result in tuning.results()[:kept]}
    assert {int(path.parents[1].name) for path in tmp_path.glob("trials/*/checkpoints/step-3")} == best


def test_a_search_that_was_interrupted_proposes_the_same(tmp_path):
    def tried(folder, stops):
        for trials in stops:
            with search(folder) as tuning:
                tuning.run(lambda values, folder: Pretended(values), trials, on_result=lambda result: None)
                results = sorted(tuning.results(), key=lambda r: r.number)
        return [(r.values, r.value) for r in results]

    assert tried(tmp_path / "a", [8]) == tried(tmp_path / "b", [1, 5, 8])


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_tune

def start(values, folder):
    folder.mkdir(parents=True, exist_ok=True)
    if folder.name == "0002" and sys.argv[3] == "hang":
        (folder / "values").write_text(repr(values))
        class Hangs(test_tune.Pretended):
            def ended(self): return None
        return Hangs(values, steps=(1, 2))
    return test_tune.Pretended(values)

with test_tune.search(sys.argv[1]) as tuning:
    tuning.run(start, 4, on_result=lambda r: print(r.number, r.state, r.values, r.value))
"""


@pytest.mark.slow
def test_a_killed_search_takes_up_the_trial_that_was_under_way(tmp_path):
    def begin(how):
        words = [sys.executable, "-c", KILLED, str(tmp_path), os.path.dirname(__file__), how]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    first = begin("hang")
    values = tmp_path / "trials" / "0002" / "values"
    deadline = time.monotonic() + 60
    while not (values.exists() and values.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # it has reported two evaluations by now
    with pytest.raises(UserError, match="another t2t-tune"):
        search(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    said = begin("go on").communicate()[0].splitlines()
    assert [line.split()[0] for line in said] == ["2", "3"]
    assert values.read_text() in said[0]


def test_a_search_is_not_continued_with_other_settings(tmp_path):
    search(tmp_path, settings={"metric": "a"}).close()
    with pytest.raises(UserError, match="metric: a → b"):
        search(tmp_path, settings={"metric": "b"})
    search(tmp_path, settings={"metric": "a"}).close()  # and the refusal left no lock behind


def test_trials_that_fail_or_diverge(tmp_path):
    class Fails(Pretended):
        def __init__(self, said, values):
            super().__init__(values, steps=())
            self._said = said

        def ended(self):
            return False, self._said

    with search(tmp_path / "a") as tuning:
        with pytest.raises(UserError, match="3 trials failed one after the other, the last: no data"):
            tuning.run(lambda values, folder: Fails("no data", values), 9, on_result=lambda r: None)
        assert tuning.best() is None
    reported = []
    with search(tmp_path / "b") as tuning:
        tuning.run(lambda v, f: Fails(f"the weights w are not finite; {DIVERGED}", v), 5, on_result=reported.append)
    assert [r.state for r in reported] == ["pruned"] * 5


def test_out_of_time_a_trial_is_kept_for_the_next_time(tmp_path):
    class Endless(Pretended):
        def ended(self):
            return None

        def stop(self, save=False):
            assert save
            super().stop()

    reported = []
    with search(tmp_path) as tuning:
        tuning.run(lambda v, f: Endless(v), 9, deadline=time.monotonic() + 0.5, on_result=reported.append)
        assert [(r.number, r.state) for r in reported] == [(0, "unfinished")] and tuning.ended() == 0
    with search(tmp_path) as tuning:
        tuning.run(lambda v, f: Pretended(v), 1, on_result=reported.append)
    assert reported[1].number == 0 and reported[1].values == reported[0].values


# ---- The best set


def test_the_best_set_registers_and_resolves(tmp_path, user_folder):
    from t2t_multimodel.cli.user_code import load_user_code

    changes = {"hidden_size": 128, "learning_rate": 0.001234, "image_norm": "features", "image_stem_filters": (16, 32)}
    story = 'tuned on "tiny8"; """ \\ \n by a hostile name'
    source = space.as_source("tiny_tuned", "multimodel_tiny", multimodel_tiny, changes, story)
    assert "from t2t_multimodel.hparams.multimodel import multimodel_tiny\n" in source
    load_user_code(str(user_folder({"tuned.py": source})))
    assert settings.resolve("tiny_tuned").hparams == replace(BASE, **changes)


# ---- The command


@pytest.fixture(scope="module")
def where(small_run, tmp_path_factory):
    """{flag: value} of a search on a small problem, from a user's own set."""
    return small_run | {
        "problem": "report_tones",
        "output_dir": tmp_path_factory.mktemp("tune") / "tune",
        "train_steps": 2,
        "hparams_set": "report_small",
        "hparams_range": "learning_rate=1e-4:1e-2:log,hidden_size=8:16:8",
    }


@pytest.mark.slow
def test_the_command_searches_goes_on_and_prints_a_set_that_trains(where, run_command, user_folder):
    status, out, error = run_command(tune.main, *arguments(where, trials=1))
    assert status == 0 and "trial 0 complete" in out and "def report_small_tuned():" in out, error
    status, out, error = run_command(tune.main, *arguments(where, trials=1))
    assert status == 0 and "1 trials have ended" in out and "trial 1" not in out
    status, _, error = run_command(tune.main, *arguments(where | {"train_steps": 3}, trials=2))
    assert status == 2 and "other settings (train_steps: 2 → 3)" in error.splitlines()[-1]
    folder = where["output_dir"]
    source = (folder / "best_hparams.py").read_text(encoding="utf-8")

    run = RunDirectory(folder / "trials" / "0000").resolved().hparams
    from t2t_multimodel.cli.user_code import load_user_code

    load_user_code(str(where["t2t_usr_dir"]))
    load_user_code(str(user_folder({"best_hparams.py": source}, name="best")))
    found = settings.resolve("report_small_tuned").hparams
    assert found == replace(run, train_steps=settings.resolve("report_small").hparams.train_steps) != run
    assert "train_steps=" not in source and "after 2 updates" in " ".join(source.split())
    assert checkpoints.latest(folder / "trials" / "0000" / "checkpoints") == 2


def test_a_trial_that_is_cut_short_can_be_continued_and_reported_on(small_run, tmp_path):
    flags = small_run | {"problem": "report_tones", "output_dir": tmp_path, "hparams_set": "report_small"}
    more = {"train_steps": 10**6, "eval_interval": 1, "eval_batches": 1, "save_interval": 10**6}
    trial = ChildRun([*arguments(flags, **more), "--skip_decoding"], tmp_path, ["report_tones"])
    while not trial.evaluations() and trial.ended() is None:
        time.sleep(0.05)
    trial.stop(save=True)
    said = (tmp_path / LOG_FILE).read_text(encoding="utf-8")
    assert checkpoints.latest(tmp_path / "checkpoints"), said
    assert "to continue" in said and f"--output_dir={tmp_path}" in said
    assert RunDirectory(tmp_path).data_dir() == small_run["data_dir"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"hparams_range": "hiden_size=64:256"}, ["hiden_size", "hidden_size"]),
        ({"hparams_range": "hidden_size=64-256"}, ["no range"]),
        ({"data_dir": "nowhere"}, ["no data for problem 'report_tones'", "t2t-datagen"]),
        ({"metric": "accuracy"}, ["accuracy", "accuracy_top1"]),
        ({"metric": "tiny_ende:bleu"}, ["tiny_ende", "report_tones"]),
        ({"hparams_set": "report_smal"}, ["report_smal", "report_small"]),
        ({"budget": "soon"}, ["--budget=soon", "20m"]),
        ({"budget": "0m"}, ["--budget=0m"]),
        ({"name": "best set"}, ["best set"]),
    ],
)
def test_a_mistake_is_one_line(change, words, where, run_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, error = run_command(tune.main, *arguments(where | {"trials": 1} | change))
    message = error.splitlines()[-1]
    assert status == 2 and ": error: " in message and all(word in message for word in words), error
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_it_says_what_to_install(where, run_command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, error = run_command(tune.main, *arguments(where | {"output_dir": tmp_path / "new"}))
    assert status == 2 and "pip install 't2t-multimodel[tune]'" in error.splitlines()[-1]
    assert not (tmp_path / "new").exists()
