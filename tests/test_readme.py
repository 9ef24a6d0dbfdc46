"""The README's commands and code, run as they are written, in an empty folder; only sizes are made small."""

import re
import shlex

import numpy as np
import pytest

from t2t_multimodel.cli import build_vocab, datagen, decoder, evaluate, inspect_data, trainer

pytestmark = pytest.mark.usefixtures("kept_programs")

COMMANDS = {
    "t2t-datagen": datagen,
    "t2t-trainer": trainer,
    "t2t-eval": evaluate,
    "t2t-decoder": decoder,
    "t2t-inspect": inspect_data,
    "t2t-build-vocab": build_vocab,
}
# What makes the commands quick: few examples, few updates, one batch of each evaluation.
QUICK = {
    "t2t-datagen": ["--workers=1"],
    "t2t-trainer": ["--train_steps=2", "--eval_batches=1", "--schedule=train", "--hparams=batch_examples=2"],
    "t2t-eval": ["--eval_batches=1", "--decode_hparams=max_length=4"],
    "t2t-decoder": ["--decode_hparams=max_length=4"],
    "t2t-inspect": [],
    "t2t-build-vocab": [],
}


@pytest.fixture(scope="module")
def readme(request):
    return (request.config.rootpath / "README.md").read_text(encoding="utf-8")


def commands(readme):
    """The lines of the README's indented blocks, each as a list of words."""
    prose = re.sub(r"```.*?```", "", readme, flags=re.DOTALL)
    return [shlex.split(line.strip(), comments=True) for line in prose.splitlines() if line.startswith("    ")]


def code(readme):
    return re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)


@pytest.mark.slow
def test_every_command_of_the_readme_runs(readme, tmp_path, monkeypatch, user_folder, capsys):
    """Takes a minute: it is the whole way of a new user, for eight problems."""
    from PIL import Image

    from t2t_multimodel.problems import tiny8

    monkeypatch.chdir(tmp_path)
    for problem in (tiny8._Tiny, tiny8.TinyParse, tiny8._TinyPicture, tiny8.TinySpeech):
        monkeypatch.setattr(problem, "train_examples", 12)
        monkeypatch.setattr(problem, "dev_examples", 2)
        monkeypatch.setattr(problem, "test_examples", 2)
    (tmp_path / "in.txt").write_text("the red circle sleeps\n\na star shines\n", encoding="utf-8")
    use, own = code(readme)
    user_folder({"birds.py": own}, name="my_problems")
    for place in ("train/crow", "train/gull", "dev/crow", "dev/gull"):
        folder = tmp_path / "my_problems" / "birds" / place
        folder.mkdir(parents=True)
        Image.fromarray(np.full((40, 40, 3), len(place), np.uint8)).save(folder / "1.png")
    ran = set()
    for words in commands(readme):
        if words and words[0] in COMMANDS:
            assert COMMANDS[words[0]].main([*words[1:], *QUICK[words[0]]]) in (0, None), words
            ran.add(words[0])
    assert ran == set(COMMANDS)
    assert len((tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()) == 3, "blank lines are kept"
    capsys.readouterr()
    exec(compile(use, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[")


def test_the_other_commands_of_the_readme_exist(readme, repository):
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    others = [words for words in commands(readme) if words and words[0] not in COMMANDS]
    assert others
    for words in others:
        assert words[:2] == ["pip", "install"] or (words[0] == "make" and f"\n{words[1]}:" in makefile), words
    for target in re.findall(r"`make (\w+)`", readme):
        assert f"\n{target}:" in makefile


def test_every_path_that_the_readme_names_is_there(readme, repository):
    for path in re.findall(r"`((?:docs|problems|hparams|data_gen|examples|t2t_multimodel)/[\w/.]*)`", readme):
        assert (repository / path).exists(), path
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        assert (repository / picture).exists(), picture
