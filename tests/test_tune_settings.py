"""t2t-tune: what is searched has an effect, its values are those of the range, and trials are scored alike."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from t2t_multimodel.cli import tune
from t2t_multimodel.errors import DIVERGED, DivergedError, UserError
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.training import checks
from t2t_multimodel.tuning import child, space
from t2t_multimodel.tuning.objective import Objective
from t2t_multimodel.tuning.search import Search

BASE = multimodel_tiny()


@pytest.mark.parametrize(
    "text, changes, why",
    [
        ("num_experts=4:16", {"use_experts": False}, "use_experts=False"),
        ("num_experts=4:16", {"encoder_experts": 0, "decoder_experts": 0}, "encoder_experts=0 and decoder_experts=0"),
        ("num_heads=2|4", {"use_attention": False}, "use_attention=False"),
        ("learning_rate,dropout", {"use_convolutions": False}, "use_convolutions=False"),
        ("mixture_temperature", {}, "mixture=fixed"),
        ("loss_balance_rate", {"loss_balance": "ratio"}, "loss_balance=ratio"),
        ("adam_beta2", {"optimizer": "adafactor"}, "optimizer=adafactor"),
        ("learning_rate_decay_rate=0.1:0.9", {}, "learning_rate_schedule=cosine"),
    ],
)
def test_what_decides_nothing_is_not_searched(text, changes, why):
    with pytest.raises(UserError, match=f"decides nothing where {why}; leave it out"):
        space.parse(text, replace(BASE, **changes))


def test_what_another_dimension_may_switch_on_is_searched():
    names = lambda text, **changes: [d.name for d in space.parse(text, replace(BASE, **changes))]
    assert len(names("num_experts=4:16,use_experts=True|False", use_experts=False)) == 2
    assert len(names("num_experts=4:16,encoder_experts=0:1", encoder_experts=0, decoder_experts=0)) == 2
    assert len(names("mixture=fixed|size,mixture_temperature")) == 2
    assert names("blocks", use_experts=False) == [name for name in space.BLOCKS if not name.endswith("_experts")]
    assert names(space.DEFAULT, use_convolutions=False) == ["learning_rate", "weight_decay"]
    assert space.DEFAULT == tune.command.parse(["--data_dir=a", "--output_dir=b", "--problem=c"]).hparams_range


def test_a_choice_in_quotes_may_have_a_comma():
    (dimension,) = space.parse("freeze='encoder,text'|''", BASE)
    assert dimension.choices == ("encoder,text", "")


@pytest.mark.parametrize(
    "text, found, value",
    [
        ("dropout=0.1:0.4:0.1:log", 0.2345, 0.2),
        ("dropout=0.1:0.4:0.1:log", 0.4, 0.4),
        ("adam_beta2=0.999:0.99999:0.00001", 0.99937, 0.99937),
        ("dropout=0:0.3:0.1", 0.30000000000000004, 0.3),
        ("learning_rate=1e-4:1e-2:log", 0.00012345678, 0.0001235),
    ],
)
def test_an_increment_is_kept_to(text, found, value):
    (dimension,) = space.parse(text, BASE)
    assert dimension.suggest(SimpleNamespace(suggest_float=lambda *given, **more: found)) == value


@pytest.mark.parametrize("eval_batches, rows, batches", [(4, 32, 4), (4, 8, 16), (4, 128, 1), (4, 24, 6), (0, 8, 0)])
def test_trials_are_scored_on_as_many_examples(eval_batches, rows, batches, monkeypatch, tmp_path):
    monkeypatch.setattr(child, "ChildRun", lambda arguments, *more: arguments)
    flags = SimpleNamespace(hparams="", problem="p", data_dir="d", hparams_set="multimodel_tiny", seed=0)
    vars(flags).update(eval_batches=eval_batches, t2t_usr_dir="", backend="")
    start = tune._starter(flags, BASE, "multimodel", 100, SimpleNamespace(needs_decoding=False), ["p"], None)
    assert f"--eval_batches={batches}" in start({"batch_examples": rows}, tmp_path)


def test_a_search_is_not_continued_with_another_set_of_the_same_name(tmp_path):
    pytest.importorskip("optuna")
    objective = Objective("bleu", {"p": ("bleu",)})

    def opened(**changes):
        base = asdict(replace(BASE, **changes))
        Search(tmp_path, space.parse("dropout", BASE), objective, {"hparams_set": "mine"}, base=base).close()

    opened()
    opened()
    with pytest.raises(UserError, match="began with other values in its hparams set .learning_rate: 0.005 → 0.1.;"):
        opened(learning_rate=0.1)


@pytest.mark.parametrize(
    "diverge",
    [
        lambda nan: checks.check_update(5, [SimpleNamespace(problem="p", epoch=0, position=5)], [{"loss": nan}]),
        lambda nan: checks.check_scores(5, "p", {"teacher_forced_loss": nan}),
        lambda nan: checks.check_weights(5, "w", np.array([1.0, nan])),
    ],
)
def test_a_trial_that_diverges_says_so_wherever_it_is_noticed(diverge):
    """The search takes such a trial for a bad one, and others that fail for a fault of the whole search."""
    with pytest.raises(DivergedError, match=DIVERGED):
        diverge(np.nan)
