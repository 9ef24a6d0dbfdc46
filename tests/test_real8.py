"""examples/real8: eight problems over real files are read whole, and their metrics fit their targets."""

import sys
from pathlib import Path

import pytest
from own_files import prepared

from t2t_multimodel import registry
from t2t_multimodel.cli import user_code
from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics import get, score
from t2t_multimodel.metrics.teacher_forced import TEACHER_FORCED

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "real8"
SIZES = {  # (train, dev), as the corpora's own README says; digits counted
    "real_ende": (8000, 400),
    "real_deen": (8000, 400),
    "real_enfr": (8000, 400),
    "real_fren": (8000, 400),
    "real_digits": (793, 158),
    "real_captions": (2400, 150),
    "real_parse": (1997, 250),
    "real_speech": (420, 60),
}


@pytest.fixture(scope="module")
def real8():
    """The example folder, loaded as --t2t_usr_dir does; forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for each in (registry.problems, registry.mixtures, registry.hparams_sets):
            each.names()  # loads what ships, so that this stays
            patch.setattr(each, "_entries", dict(each._entries))
        patch.setattr(user_code, "_loaded", {})
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("T2T_USR_DIR", "")
        patch.delitem(sys.modules, "real8", raising=False)
        yield user_code.load_user_code(FOLDER)
        sys.modules.pop("real8", None)


@pytest.fixture(scope="module")
def samples(real8):
    """{problem: {split: raw samples}}"""
    if not (FOLDER.parents[2] / "shared" / "real8").is_dir():
        pytest.skip("the corpora of real8 are not beside the checkout (../shared/real8)")
    return {name: {s: list(registry.problem(name).samples(s)) for s in ("train", "dev")} for name in SIZES}


def test_the_folder_registers_eight_problems_their_mixture_and_their_hparams(real8):
    added = {f"problem {name}" for name in SIZES} | {"mixture real8", "hparams set multimodel_real8"}
    assert set(real8.added) == added
    assert registry.mixtures.get("real8").problem_names == tuple(SIZES)


def test_every_problem_is_scored_by_known_metrics(real8, shared):
    for name in SIZES:
        assert set(registry.problem(name).metrics or registry.problem(name).metric_names) <= set(
            registry.metrics.names()
        )


def test_every_problem_has_a_data_sheet(real8):
    for name in SIZES:
        sheet = registry.problems.get(name).__doc__
        if name not in ("real_deen", "real_fren"):  # these refer to the other direction
            assert all(word in sheet for word in ("Size:", "Source", "icence", "etric")), name


def test_without_the_corpora_the_error_says_what_to_set(real8, tmp_path, monkeypatch):
    monkeypatch.setenv("REAL8_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"problem real_digits: no such folder: .*elsewhere; set .* REAL8_DIR"):
        registry.problem("real_digits").splits  # noqa: B018


def test_another_folder_by_environment_variable(real8, tmp_path, monkeypatch):
    (tmp_path / "translate_ende").mkdir()
    (tmp_path / "translate_ende" / "dev.tsv").write_text("red\trot\n")
    monkeypatch.setenv("REAL8_DIR", str(tmp_path))
    assert [s["targets"] for s in prepared(registry.problem("real_deen"), "dev")] == ["red"]


@pytest.mark.parametrize("name", SIZES)
def test_every_example_is_there_and_passes_its_checks(name, samples):
    problem = registry.problem(name)
    assert tuple(len(samples[name][split]) for split in ("train", "dev")) == SIZES[name]
    prepared(problem, "dev")  # checks each
    problem.targets.check(problem.prepare(samples[name]["train"][-1])["targets"])


@pytest.mark.parametrize("name", SIZES)
def test_the_right_answers_score_perfectly(name, samples):
    names = registry.problem(name).metric_names
    assert not set(names) & set(TEACHER_FORCED)
    right = [sample["targets"] for sample in samples[name]["dev"]]
    values = score(names, right, [[target] for target in right])
    assert {metric: values[metric] for metric in names} == pytest.approx({m: get(m).perfect for m in names})


def test_pictures_share_one_feature_and_speech_keeps_its_length(samples):
    digits, captions, speech = (registry.problem(name) for name in ("real_digits", "real_captions", "real_speech"))
    assert digits.inputs == captions.inputs
    sound = speech.prepare(samples["real_speech"]["dev"][0])["inputs"]
    assert 0.5 < len(sound) / speech.inputs.rate < 3 and abs(sound).max() > 1000


def test_both_orders_of_a_caption_are_right(samples):
    for sample in samples["real_captions"]["dev"]:
        given, other = sample["references"]
        assert given == sample["targets"] != other
        assert sorted(given.replace("left", "right").replace("above", "below").split()) == sorted(
            other.replace("left", "right").replace("above", "below").split()
        )
    first, second = samples["real_captions"]["train"][:2]
    assert [first["targets"], second["targets"]] == first["references"] == second["references"]
    assert first["inputs"] == second["inputs"] and first["key"] != second["key"]
    assert first["references"] == [
        "a blue three right of a red seven",
        "a red seven left of a blue three",
    ]


def test_sentences_to_parse_carry_no_marks_of_the_parser(samples):
    for split in ("train", "dev"):
        for sample in samples["real_parse"][split]:
            assert not set("{}") & set(sample["inputs"]), sample
            tags = [token for token in sample["targets"].split() if token[0] not in "()"]
            assert len(tags) == len(sample["inputs"].split(" ")), sample


def test_the_two_directions_of_a_translation_are_one_corpus(samples):
    for one, other in (("real_ende", "real_deen"), ("real_enfr", "real_fren")):
        swapped = [(s["targets"], s["inputs"]) for s in samples[other]["dev"]]
        assert [(s["inputs"], s["targets"]) for s in samples[one]["dev"]] == swapped
