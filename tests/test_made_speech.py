"""examples/speech: the corpus is planned and made the same each time, goes on after an interruption, and is read."""

import hashlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from t2t_multimodel import registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.input.store import ExampleStore

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "speech"
FILE = FOLDER / "make_corpus.py"
SAID = ["the cat sat on a mat", "Don't panic, please", "a b", "x = 3", "no numbers like 7 here", "one two three four"]


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_corpus", FILE)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_corpus"] = module  # for the workers' tasks
    spec.loader.exec_module(module)
    return module


def digests(folder):
    """{path in the folder: digest} of all its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_sentences_are_those_of_plain_words(maker, tmp_path):
    (tmp_path / "said.tsv").write_text("".join(f"{line}\tanders\n" for line in SAID))
    texts = maker.sentences([tmp_path / "said.tsv"])
    assert {"the cat sat on a mat", "Don't panic, please", "one two three four"} <= set(texts)
    assert not {"a b", "x = 3", "no numbers like 7 here"} & set(texts)
    assert len(texts) > 5000  # Python's own documentation
    assert {maker.transcript(t) for t in ("Don't panic, please", "a re-run")} == {"DON'T PANIC PLEASE", "A RE RUN"}


def test_the_plan_keeps_sentences_and_voices_apart(maker):
    texts = [f"{a} {b} said so" for a in ("cat", "dog", "man", "girl") for b in map(chr, range(97, 123))] * 1
    chapters = maker.planned(texts, hours=0.5, dev_minutes=1, seed=3)
    assert chapters == maker.planned(texts, hours=0.5, dev_minutes=1, seed=3)
    assert chapters != maker.planned(texts, hours=0.5, dev_minutes=1, seed=4)
    said = {subset: {u.text for chapter in c for u in chapter} for subset, c in chapters.items()}
    assert not said["train"] & (said["dev-sentences"] | said["dev-voices"])
    assert not said["dev-sentences"] & said["dev-voices"]
    voices = {subset: {(u.accent, u.variant) for chapter in c for u in chapter} for subset, c in chapters.items()}
    assert len(voices["train"]) >= 20 and not voices["train"] & voices["dev-voices"]
    train = [u for chapter in chapters["train"] for u in chapter]
    assert {u.words_a_minute for u in train} <= set(range(120, 221)) and len({u.pitch for u in train}) > 20
    names = [u.name for c in chapters.values() for chapter in c for u in chapter]
    assert len(set(names)) == len(names)
    assert len(set(maker.VOICES)) == 32


def test_noise_and_rooms_are_drawn_from_the_numbers(maker):
    sound = np.sin(np.arange(4000) / 5.0)
    made = [maker.in_a_room(sound, np.random.default_rng(i)) for i in (1, 1, 2)]
    assert (made[0] == made[1]).all() and (made[0] != made[2]).any() and len(made[0]) == 4000
    noise = maker.noise(4000, np.random.default_rng(1))
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0)


def test_what_is_missing_is_said_in_one_line(maker, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert maker.main([f"--output_dir={tmp_path / 'made'}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "apt-get install espeak-ng" in said


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_an_interrupted_corpus_becomes_that_of_one_that_was_not_and_is_read(maker, tmp_path, monkeypatch, run_command):
    monkeypatch.setattr(maker, "sentences", lambda files: [f"number {a} and {b}" for a in "abcdefg" for b in "hijkl"])
    made, said = tmp_path / "corpora" / "made_speech", []
    arguments = (made, 0.02, 0.2, 1, [], 1, said.append)
    totals = maker.make(*arguments)
    whole = digests(made)
    assert totals["train"] == pytest.approx(0.02, rel=0.5) and totals["dev-voices"] > 0
    chapters = sorted(made.glob("LibriSpeech/*/*/*"))
    shutil.rmtree(chapters[1])
    chapters[0].rename(chapters[0].with_name(f"{chapters[0].name}.part"))
    again = maker.make(*arguments)
    assert digests(made) == whole and again == pytest.approx(totals)
    with pytest.raises(maker.UserError, match="other arguments"):
        maker.make(made, 0.03, *arguments[2:])

    flags = ("--t2t_usr_dir", str(FOLDER), "--problem=made_speech", f"--manual_dir={tmp_path / 'corpora'}")
    status, out, err = run_command(datagen.main, *flags, f"--data_dir={tmp_path / 'data'}", "--workers=1")
    assert status == 0, out + err
    store = ExampleStore(tmp_path / "data", "made_speech")
    (first,) = store.split("dev").examples([0])
    assert store.vocabulary().decode(first["targets"].tolist()).startswith("number ")
    assert 0.5 < len(first["inputs"]) / 16000 < 6
    assert "made_speech" in registry.problems
