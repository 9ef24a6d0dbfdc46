"""Where every line of the first corpus is bad, the error names the first of them and the reason."""

import json
import re

import pytest
from own_files import make

from t2t_multimodel.data_gen.vocabulary_training import train_on_problems
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems import BracketedTrees, CaptionedImages, ParallelText, SentencePairs, TranscribedSpeech


def refused(problem, folder):
    with pytest.raises(UserError, match="there is no text to train a vocabulary on") as error:
        train_on_problems(folder / "vocabulary", [problem], size=400)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("one\tGrüße\ntwo\tKäse\n".encode("latin-1"), r"train\.tsv:1: not UTF-8 \(byte 0xfc .* iconv -f ISO-8859-1"),
        ("one\teins\ntwo\tzwei\n".encode("utf-16"), r"train\.tsv:1: not UTF-8 but UTF-16 .* iconv -f UTF-16"),
        ("one\teins\ntwo\tzwei\n".encode("utf-16-le"), r"train\.tsv:1: a NUL byte, so this is UTF-16"),
        ("one\teins\ntwo\tzwei\n".encode("utf-32"), r"train\.tsv:1: not UTF-8 but UTF-32"),
        (b"one,eins\ntwo,zwei\n", r"train\.tsv:1: 1 column between tabs, expected 2"),
        (b"1\tone\teins\n2\ttwo\tzwei\n", r"train\.tsv:1: 3 columns between tabs"),
        (b"one\teins\rtwo\tzwei\r", r"train\.tsv:1: lines end in CR alone"),
        (b"one\t\ntwo\t\n", r"train\.tsv:1: column 2 \(target\) is empty"),
    ],
)
def test_lines_that_are_all_malformed_name_the_cause(content, reason, tmp_path):
    (tmp_path / "train.tsv").write_bytes(content)
    said = refused(make(SentencePairs, tmp_path), tmp_path)
    assert re.search(reason, said), said


def test_a_few_of_many_are_named_and_all_are_counted(tmp_path):
    (tmp_path / "train.tsv").write_text("one,eins\n" * 1000)
    said = refused(make(SentencePairs, tmp_path), tmp_path)
    assert "; 3 of 1,000 bad records: " in said and all(f"train.tsv:{n}: 1 column" in said for n in (1, 2, 3))
    assert "train.tsv:4:" not in said
    (tmp_path / "train.tsv").write_text("")
    assert "bad record" not in refused(make(SentencePairs, tmp_path), tmp_path)


def test_every_form_of_text_names_the_cause(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train.mrg").write_text("no tree\n")
    (tmp_path / "train.en").write_text("\n")
    (tmp_path / "train.de").write_bytes(b"\xfc\n")
    (tmp_path / "train" / "captions.json").write_text(json.dumps([{"name": "1.png"}]))
    (tmp_path / "train" / "transcripts.tsv").write_text("a.wav,hello\n")
    for base, reason, attributes in (
        (BracketedTrees, r"train\.mrg:1: the tree doesn't parse", {}),
        (ParallelText, r"train\.de:1: not UTF-8", {"sides": ("en", "de")}),
        (CaptionedImages, r"captions\.json:entry 1: not of the form", {}),
        (TranscribedSpeech, r"transcripts\.tsv:1: 1 column", {}),
    ):
        said = refused(make(base, tmp_path, **attributes), tmp_path)
        assert re.search(f"; the bad records: .*{reason}", said), said
