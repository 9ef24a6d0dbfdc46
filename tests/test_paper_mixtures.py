"""paper8 and open8: eight tasks each, one of them for one, and a missing corpus holds up nobody but its own problem."""

import pytest

from t2t_multimodel import mixture, registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem

OWN = ("wsj_speech", "wsj_parse", "librispeech", "gum_parse")


@pytest.fixture
def all_members(monkeypatch):
    """Every name of the two mixtures is a problem; what other parts of the package bring may not be there yet."""
    for name in ("paper8", "open8"):
        for member in registry.mixtures.get(name).problem_names:
            if member not in registry.problems:
                stand_in = type(member, (Problem,), {"name": member, "inputs": Text(), "targets": Text()})
                entry = registry.Entry(member, stand_in, "", "here")
                monkeypatch.setitem(registry.problems._entries, member, entry)


@pytest.mark.parametrize("name", ["paper8", "open8"])
def test_the_eight_are_drawn_equally(name, all_members):
    found = mixture.parse(name)
    assert len(found.problems) == 8 and {round(weight, 9) for _, weight in found.problems} == {1 / 8}


def test_each_stands_in_for_one():
    paper, free = (registry.mixtures.get(name).problem_names for name in ("paper8", "open8"))
    pairs = [(theirs, ours) for theirs, ours in zip(paper, free) if theirs != ours]
    assert pairs == [("wsj_speech", "librispeech"), ("imagenet", "cifar10"), ("wsj_parse", "gum_parse")]
    assert set(OWN) <= set(registry.problems.names())
    for theirs, ours in (("wsj_speech", "librispeech"), ("wsj_parse", "gum_parse")):
        theirs, ours = registry.problem(theirs), registry.problem(ours)
        assert (theirs.inputs, theirs.targets, theirs.metrics) == (ours.inputs, ours.targets, ours.metrics)
        assert theirs.corpus.stand_in == ours.name


def test_missing_corpora_are_skipped_by_name(tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(corpora, "_folders", dict(corpora._folders))
    const = tmp_path / "manual" / "gum" / "const"
    const.mkdir(parents=True)
    for document in ("a", "b", "c"):
        (const / f"GUM_{document}.ptb").write_text("(ROOT (S (NP (NN dogs)) (VP (VBP bark))))\n")
    (const.parent / "splits.md").write_text("## train\n  * GUM_a\n## dev\n  * GUM_b\n## test\n  * GUM_c\n")
    argv = ["--problem=" + ",".join(OWN), f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}/manual", "--dry_run"]
    status, out, err = run_command(datagen.main, *argv)
    assert status == 2 and err.count("\n") == 1 and "LDC93S6A" in err
    status, out, err = run_command(datagen.main, *argv, "--skip_missing")
    assert status == 0, err
    assert [line.split(":")[0] for line in out.splitlines() if "skipped" in line] == list(OWN[:3])
    assert "gum_parse train: 1 examples" in out
