"""t2t-build-vocab compares sizes on text that no vocabulary has seen, and writes the one that t2t-datagen then uses."""

import pytest

from t2t_multimodel import registry
from t2t_multimodel.cli import build_vocab
from t2t_multimodel.data_gen import vocabulary_fit
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.vocabulary import Vocabulary

WORDS = "the small red circle is left of a large blue star and above one green square".split()


class VocabWords(Problem):
    """English to French, whose dev text has a letter that train lacks."""

    inputs, targets = Text("English"), Text("French")
    splits = ("train", "dev")

    def samples(self, split):
        for i in range(200 if split == "train" else 20):
            words = [WORDS[(i * k + k * k) % len(WORDS)] for k in range(1, 8)]
            end = "" if split == "train" else " ж"
            yield {"inputs": " ".join(words) + end, "targets": " ".join(w.upper() for w in words), "key": f"{split}{i}"}


class VocabShapes(Problem):
    """Has no text."""

    inputs, targets = Image(4, 4, 1), Label(("a", "b"))

    def samples(self, split):
        yield from ()


@pytest.fixture(autouse=True)
def registered(user_folder):
    for problem in (VocabWords, VocabShapes):
        problem.name = registry.snake_case(problem.__name__)
        registry.problems.add(problem.name, problem)


def test_sizes_are_compared_by_language_on_unseen_text(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("T2T_MANUAL_DIR", raising=False)
    status, out, error = run_command(build_vocab.main, "--problem=vocab_words,vocab_shapes", "--sizes=400,460")
    assert f"in {tmp_path / 'manual'} (--manual_dir) and in {tmp_path / 'downloads'} (--download_dir)" in out
    assert status == 0, error
    assert "without text, left out: vocab_shapes" in out and list(tmp_path.iterdir()) == []
    rows = {tuple(line.split()[:3]): line.split()[3:] for line in out.splitlines() if line.startswith("vocab_words")}
    texts = vocabulary_fit.sample_texts(VocabWords())
    for side, language in (("inputs", "English"), ("targets", "French")):
        split, characters, small, small_bytes, large, large_bytes = rows["vocab_words", side, language]
        assert (split, int(characters.replace(",", ""))) == ("dev", sum(map(len, texts[side])))
        assert 0 < float(large) < float(small) < 1  # tokens a character: more ids, fewer tokens
        unknown = side == "inputs"
        assert (float(small_bytes.rstrip("%")) > 0) == unknown and (float(large_bytes.rstrip("%")) > 0) == unknown
    total = out.splitlines()[-1].split()
    assert total[0] == "all" and int(total[1].replace(",", "")) == sum(len(t) for side in texts.values() for t in side)


def test_what_several_problems_have_of_a_language_is_summed(run_command):
    status, out, error = run_command(build_vocab.main, "--problem=vocab_words,vocab_words_rev", "--sizes=450")
    assert status == 0, error
    rows = [line.split() for line in out.splitlines() if line.startswith(("vocab_words", "all"))]
    for language in ("English", "French"):
        one, other, both = [row[-3:] for row in rows if language in row]  # characters, tokens a character, bytes
        assert one == other and one[1:] == both[1:]
        assert 2 * int(one[0].replace(",", "")) == int(both[0].replace(",", ""))


def test_the_figures_are_those_of_the_vocabulary(run_command, tmp_path):
    where = f"--data_dir={tmp_path / 'd'}"
    status, out, _ = run_command(build_vocab.main, "--problem=vocab_words", "--sizes=450", where)
    assert status == 0 and out.endswith(f"wrote {tmp_path / 'd' / 'vocabulary'}\n")
    vocabulary = Vocabulary.load(tmp_path / "d" / "vocabulary")
    texts = vocabulary_fit.sample_texts(VocabWords())["inputs"]
    fit = vocabulary_fit.fit(vocabulary, texts)
    assert fit.tokens == sum(len(vocabulary.encode(text)) for text in texts)
    assert fit.byte_tokens == 2 * len(texts)  # "ж" is two bytes, in each
    assert f"{fit.tokens / sum(map(len, texts)):.3f}" in out


def test_data_generation_uses_what_was_written(run_command, tmp_path):
    run_command(build_vocab.main, "--problem=vocab_words", "--sizes=450", f"--data_dir={tmp_path}")
    digest = Vocabulary.load(tmp_path / "vocabulary").digest
    said = []
    (result,) = generate([VocabWords()], tmp_path, vocabulary_size=450, workers=1, log=said.append, progress=False)
    assert result.manifest["vocabulary"]["digest"] == digest and any("are reused" in line for line in said)
    with pytest.raises(UserError, match="was trained for 450 ids"):
        generate([VocabWords()], tmp_path, vocabulary_size=500, workers=1, log=said.append, progress=False)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--sizes=1024,x"], ["--sizes='1024,x'", "--sizes=1024,8192"]),
        (["--sizes="], ["--sizes"]),
        (["--sizes=500,500"], ["different"]),
        (["--sizes=20"], ["at least 400"]),
        (["--sizes=99999999999"], ["at most 10,000,000"]),
        (["--sizes=500,600", "--data_dir=d"], ["--data_dir takes one"]),
        (["--problem=vocab_shapes"], ["neither side of vocab_shapes is text"]),
        (["--problem=vocab_wrods"], ["did you mean 'vocab_words'"]),
        (["--data_dir=taken"], ["taken/vocabulary exists already"]),
        (["--data_dir=file"], ["can't write to the data folder file"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(flags, words, run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken" / "vocabulary").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    status, _, error = run_command(build_vocab.main, "--problem=vocab_words", *flags)
    assert status == 2 and error.startswith("t2t-build-vocab: error: ") and error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "d").exists() and list((tmp_path / "taken" / "vocabulary").iterdir()) == []


def test_a_faulty_problem_is_one_line(user_folder, run_command):
    folder = user_folder(
        {
            "faulty.py": "from t2t_multimodel.problem import Problem\n"
            "from t2t_multimodel.registry import register_problem\n"
            "@register_problem\nclass Faulty(Problem):\n    pass\n"
        }
    )
    status, _, error = run_command(build_vocab.main, "--problem=faulty", f"--t2t_usr_dir={folder}")
    assert status == 2 and "faulty" in error and "samples" in error and "Traceback" not in error
