"""Settings have one path, set → gin → flags, every value knows where it came from, and no typo passes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2t_multimodel import hyperparameters, registry
from t2t_multimodel.cli import settings
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams

FIELDS = [f.name for f in dataclasses.fields(HParams)]


@pytest.mark.parametrize("name", registry.hparams_sets.names())
def test_every_set_that_ships_is_valid(name):
    values = registry.hparams_sets.get(name)()
    hyperparameters.validate(values)
    assert settings.resolve(name).hparams == values


@pytest.mark.parametrize("old, name", [("multimodel_1p8", "multimodel_base"), ("multimodel1p8", "multimodel_base")])
def test_names_of_old_resolve(old, name):
    assert settings.resolve(old).hparams == registry.hparams_sets.get(name)()


def test_the_ablations_differ_from_their_parent_in_one_field():
    for parent in ("multimodel_base", "multimodel_single", "multimodel_tiny"):
        for suffix, kind in (("no_moe", "experts"), ("no_attention", "attention"), ("no_convolutions", "convolutions")):
            whole, without = (registry.hparams_sets.get(n)() for n in (parent, f"{parent}_{suffix}"))
            assert dataclasses.replace(whole, **{f"use_{kind}": False}) == without != whole


def test_the_papers_numbers():
    base, single = (registry.hparams_sets.get(n)() for n in ("multimodel_base", "multimodel_single"))
    assert (base.hidden_size, base.num_experts, base.experts_per_token, base.dropout) == (1024, 240, 4, 0.4)
    assert (single.num_experts, single.hidden_size) == (60, 1024)


def test_later_sources_win_and_are_remembered(tmp_path):
    gin_file = tmp_path / "mine.gin"
    gin_file.write_text("SIZE = 64\nHParams.hidden_size = %SIZE\nHParams.dropout = 0.2\nHParams.num_heads = 2\n")
    resolved = settings.resolve(
        "multimodel_tiny", "num_heads=8,label_smoothing=0.1", [str(gin_file)], ["HParams.dropout = 0.3"], 77
    )
    h, sources = resolved.hparams, resolved.sources
    assert (h.hidden_size, sources["hidden_size"]) == (64, f"gin file {gin_file}")
    assert (h.dropout, sources["dropout"]) == (0.3, "--gin_bindings")
    assert (h.num_heads, sources["num_heads"]) == (8, "--hparams")
    assert (h.train_steps, sources["train_steps"]) == (77, "--train_steps")
    assert (h.num_experts, sources["num_experts"]) == (8, "set multimodel_tiny")
    assert "adam_epsilon" not in sources  # a default


def test_values_are_judged_together_not_one_source_after_another():
    """hidden_size=100 contradicts the set's 8 heads, 5 heads its hidden size; together they are right."""
    resolved = settings.resolve("multimodel_base", "num_heads=5", gin_bindings=["HParams.hidden_size = 100"])
    assert (resolved.hparams.hidden_size, resolved.hparams.num_heads) == (100, 5)


def test_one_call_leaves_nothing_behind_for_the_next():
    settings.resolve("multimodel_tiny", gin_bindings=["HParams.dropout = 0.3"])
    assert settings.resolve("multimodel_tiny", gin_bindings=["HParams.num_experts = 6"]).hparams.dropout == 0.0


def test_the_gin_file_that_ships_is_found_by_its_name():
    assert settings.resolve("multimodel_tiny", gin_files=["example.gin"]).hparams.hidden_size == 128


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(hparams="hiden_size=3"), ["hiden_size", "hidden_size", "--hparams"]),
        (dict(hparams="hidden_size"), ["not name=value"]),
        (dict(hparams="hidden_size=big"), ["hidden_size", "int", "'big'"]),
        (dict(hparams="use_experts=1"), ["use_experts", "bool"]),
        (dict(hparams="hidden_size=90"), ["hidden_size=90", "num_heads"]),
        (dict(hparams="experts_per_token=9"), ["experts_per_token=9", "num_experts=8"]),
        (dict(hparams="precision=float16"), ["float16", "mixed_bfloat16"]),
        (dict(hparams="image_shift=8"), ["image_shift=8", "[0, 0.5]"]),
        (dict(hparams="image_stem_filters=32"), ["image_stem_filters=(32,)", "two numbers", "(32, 64)"]),
        (dict(hparams="class_filter_ratios=(1.5,2.0,2.0)"), ["two numbers", "(1.5, 2.0)"]),
        (dict(hparams="class_filter_ratios=(1.5,0.01)"), ["(1.5, 0.01)", "hidden_size=96", "without features"]),
        (dict(gin_bindings=["HParams.hiden_size = 3"]), ["hiden_size", "hidden_size"]),
        (dict(gin_bindings=["hparams.hidden_size = 3"]), ["hparams", "HParams"]),
        (dict(gin_bindings=["HParams.mixture = size"]), ["quotes"]),
        (dict(gin_bindings=["HParams.hidden_size = "]), ["--gin_bindings"]),
        (dict(gin_files=["nowhere.gin"]), ["nowhere.gin", "no such file"]),
        (dict(train_steps=0), ["train_steps=0"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments, words):
    with pytest.raises(UserError) as error:
        settings.resolve("multimodel_tiny", **arguments)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_comma_in_quotes_separates_nothing():
    """Parts of a model may be named with commas between them, as by --freeze."""
    text = """freeze="encoder,text",hidden_size=8,learning_rate_scale='body=0.1, text=0.5',optimizer=o'neil,dropout=0"""
    assert hyperparameters.parse(text) == {
        "freeze": "encoder,text",
        "hidden_size": 8,
        "learning_rate_scale": "body=0.1, text=0.5",
        "optimizer": "o'neil",
        "dropout": 0,
    }


def test_an_unknown_set_shows_the_nearest():
    with pytest.raises(UserError, match="multimodel_tiny"):
        settings.resolve("multimodel_tinny")


def test_the_table_shows_what_is_not_default():
    table = settings.settings_table(settings.resolve("multimodel_base", "label_smoothing=0.1"))
    assert [line.split() for line in table.splitlines()[2:3]] == [["label_smoothing", "0.1", "--hparams"]]


def test_the_table_says_what_has_no_effect():
    """Of what was given; a set may have values for what it switches off."""
    given = "mixture_temperature=3.0,use_experts=False,num_experts=4,dropout=0.1,audio_time_mask_share=0.3"
    table = settings.settings_table(settings.resolve("multimodel_tiny", given))
    assert [line for line in table.splitlines() if "no effect" in line] == [
        "audio_time_mask_share has no effect where audio_time_masks=0",
        "mixture_temperature has no effect where mixture=fixed",
        "num_experts has no effect where use_experts=False",
    ]
    for name in ("multimodel_tiny_no_moe", "multimodel_base_no_convolutions", "multimodel_base"):
        assert "no effect" not in settings.settings_table(settings.resolve(name), "tensorflow")
    rows = settings.resolve("multimodel_tiny", "batch_rows_multiple=4")
    assert "no effect" not in settings.settings_table(rows, "jax")
    assert "batch_rows_multiple has no effect on TensorFlow" in settings.settings_table(rows, "tensorflow")


@given(st.data())
def test_hparams_text_round_trips(data):
    """Whatever values fields may have, writing them as --hparams text and reading that gives them back."""
    names = data.draw(st.lists(st.sampled_from(FIELDS), max_size=5, unique=True))
    made = {
        int: st.integers(1, 10**6),
        float: st.floats(0, 1e6, allow_nan=False),
        bool: st.booleans(),
        str: st.text(st.characters(categories=["L", "N"]), min_size=1).filter(lambda s: not s.isnumeric()),
        tuple: st.tuples(st.integers(1, 99), st.integers(1, 99)),
    }
    values = {name: data.draw(made[type(getattr(HParams, name))]) for name in names}
    text = ",".join(f"{name}={value!r}" for name, value in values.items())
    assert hyperparameters.check(hyperparameters.parse(text), "here") == values


@given(st.text(max_size=40))
def test_any_text_as_hparams_is_values_or_one_error(text):
    try:
        hyperparameters.check(hyperparameters.parse(text), "--hparams")
    except UserError:
        pass


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_heads", 0),
        ("num_heads", -2),
        ("small_kernel", 0),
        ("image_stem_stride", 0),
        ("max_target_length", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", -0.1),
        ("clip_norm", -1.0),
        ("adam_beta2", 1.0),
        ("label_smoothing", 1.5),
        ("hidden_size", 2**40),
        ("hidden_size", 10**400),
        ("learning_rate", 10**400),
        ("dropout", float("nan")),
        ("image_stem_filters", [0]),
        ("image_stem_filters", [1.5]),
        ("image_stem_filters", [16] * 99),
        ("image_stem_filters", [True]),
        ("class_filter_ratios", [0.0]),
        ("encoder_blocks", -1),
        ("num_heads", None),
        ("num_heads", []),
        ("precision", 3),
        ("max_audio_seconds", 0.0),
    ],
)
def test_a_value_that_no_model_can_have_is_one_line_from_a_file_too(name, value):
    stored = hyperparameters.Resolved(HParams()).to_json()
    stored[name] = {"value": value, "source": "here"}
    for refused in (
        lambda: hyperparameters.Resolved.from_json(stored),
        lambda: hyperparameters.override(HParams(), {name: value}, "here"),
    ):
        with pytest.raises(UserError, match=name) as caught:
            refused()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "stored", [[], None, {"dropout": 3}, {"dropout": {"value": 0.1}}, {"dropout": {"source": "x"}}]
)
def test_hparams_json_of_another_form_is_one_line(stored):
    with pytest.raises(UserError, match=r"hparams\.json is damaged"):
        hyperparameters.Resolved.from_json(stored)


def test_a_schedule_that_nothing_uses_is_no_silence():
    with pytest.raises(UserError, match="mixture=fixed does not use it; set mixture=schedule"):
        hyperparameters.override(HParams(), {"mixture_schedule": "linear @0 1"}, "a test")
    hyperparameters.override(HParams(), {"mixture_schedule": "linear @0 1", "mixture": "schedule"}, "a test")
