"""t2t-new-problem: what it takes files for, what it asks, what it writes; three first problems in three commands."""

import ast
import json
import re
import shlex

import pytest
from table_files import png, tar, wav

from t2t_multimodel.cli import datagen, new_problem, trainer
from t2t_multimodel.data_gen.readers.tables import TableFormat
from t2t_multimodel.errors import UserError
from t2t_multimodel.survey import columns as kinds
from t2t_multimodel.survey.choice import choose
from t2t_multimodel.survey.columns import profile
from t2t_multimodel.survey.layout import find_layout
from t2t_multimodel.survey.source import declaration

WORDS = "soup bread fish cake rice milk salt corn".split()


def sentences(count):
    return [f"the {WORDS[i % 8]} with {WORDS[i // 8 % 8]} and number {i}" for i in range(count)]


def looked_at(*paths, header="", **named):
    """The `Choice` for files, as the command makes it."""
    layout = find_layout([str(path) for path in paths], TableFormat(), header)
    found, _, faults = profile(layout.tables["train"], layout.form, 10_000)
    assert not faults
    return choose(found, **named)


def jsonl(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


# ---- What the columns are


def test_two_languages(tmp_path):
    rows = [{"id": i, "translation": {"en": text, "de": text.upper()}} for i, text in enumerate(sentences(50))]
    choice = looked_at(jsonl(tmp_path / "corpus.jsonl", rows))
    assert (choice.inputs, choice.targets) == ("translation.en", "translation.de")
    assert choice.languages == ("English", "German") and "_rev" in " ".join(choice.why)


def test_text_and_classes_text_and_numbers(tmp_path):
    rows = [{"review": text, "stars": i % 4, "price": i / 7} for i, text in enumerate(sentences(60))]
    file = jsonl(tmp_path / "corpus.jsonl", rows)
    choice = looked_at(file, targets="stars")
    assert (choice.inputs, choice.targets_kind) == ("review", kinds.LABEL)
    assert looked_at(file, targets="price").targets_kind == kinds.NUMBER


@pytest.mark.parametrize("offset", [0.0, 101325.0, 12345678.0])
def test_numbers_are_declared_as_they_vary(offset, tmp_path):
    """However far from 0: by a mean rounded to six digits, targets could begin many deviations away."""
    rows = [{"text": text, "value": offset + i % 50 / 10} for i, text in enumerate(sentences(200))]
    layout = find_layout([str(jsonl(tmp_path / "train.jsonl", rows))], TableFormat())
    found, _, _ = profile(layout.tables["train"], layout.form, 1000)
    choice = choose(found, inputs="text", targets="value", targets_are="numbers")
    attributes, _ = declaration(choice, layout, found["value"], None)
    declared = ast.parse(attributes["targets"], mode="eval").body.keywords
    values = {argument.arg: ast.literal_eval(argument.value)[0] for argument in declared}
    assert abs(values["mean"] - (offset + 2.45)) < 0.01 and values["scale"] == pytest.approx(1.443, rel=1e-2)


def test_pictures_in_a_webdataset_with_captions(tmp_path):
    members = {}
    for i, text in enumerate(sentences(30)):
        members |= {f"{i}.png": png(i), f"{i}.txt": text.encode(), f"{i}.json": b'{"width": 8, "height": 6}'}
    tar(tmp_path / "train-0000.tar", members)
    choice = looked_at(tmp_path)
    assert (choice.inputs, choice.inputs_kind, choice.targets) == ("png", kinds.PICTURE, "txt")


def test_common_voice_and_nemo(tmp_path):
    (tmp_path / "cv" / "clips").mkdir(parents=True)
    head = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment\n"
    rows = [f"s{i % 5}\tcommon_{i}.mp3\t{text}\t2\t0\t\t\t\ten\t\n" for i, text in enumerate(sentences(40))]
    (tmp_path / "cv" / "train.tsv").write_text(head + "".join(rows))
    layout = find_layout([str(tmp_path / "cv")], TableFormat())
    assert layout.media_folder == "clips" and "Common Voice" in layout.why[-1]
    choice = looked_at(tmp_path / "cv")
    assert (choice.inputs, choice.targets, choice.more) == ("path", "sentence", {"group": "client_id"})
    about = {"offset": 0.5, "duration": 2.0}
    rows = [{"audio_filepath": f"{i}.wav", "text": t} | about for i, t in enumerate(sentences(9))]
    choice = looked_at(jsonl(tmp_path / "manifest.json", rows))
    assert (choice.inputs, choice.targets) == ("audio_filepath", "text")
    assert choice.more == {"start": "offset", "duration": "duration"}


@pytest.mark.parametrize(
    "rows, said",
    [
        ([{"a": t, "b": t[::-1]} for t in sentences(20)], "more than one column may be the inputs: say --inputs="),
        ([{"text": t} for t in sentences(20)], "--inputs=none for a language model"),
        ([{"i": "1.png", "j": "2.png", "t": t} for t in sentences(20)], "2 columns have pictures or recordings"),
        ([{"i": "1.png", "t": t, "u": t} for t in sentences(20)], "more than one column may be the targets"),
        ([{"question": t, "answer": f"x{i // 3}"} for i, t in enumerate(sentences(60))], "say --targets_are=class or"),
        (
            [{"question": t, "answer": i} for i, t in enumerate(sentences(60))],
            "--targets_are=numbers or --targets_are=text",
        ),
    ],
)
def test_what_is_ambiguous_is_asked_by_a_flag(rows, said, tmp_path):
    with pytest.raises(UserError, match=re.escape(said)):
        looked_at(jsonl(tmp_path / "corpus.jsonl", rows))


@pytest.mark.parametrize(
    "content, header",
    [
        ("en,de\na,b\n", True),
        ("file_name,species\n1.jpg,owl\n", True),
        ("text,price\nthe house,3.5\nthe boat,2\n", True),
        ("photo,species\n1.jpg,owl\n2.jpg,owl\n", True),
        ("the first sentence,der erste Satz\nthe second sentence,der zweite Satz\n", False),
        ("soup,Suppe\nbread,Brot\n", None),
    ],
)
def test_a_header_is_known_by_a_reason_or_asked_for(content, header, tmp_path):
    (tmp_path / "corpus.csv").write_text(content)
    if header is None:
        with pytest.raises(UserError, match="--header=yes or --header=no"):
            find_layout([str(tmp_path / "corpus.csv")], TableFormat())
        assert find_layout([str(tmp_path / "corpus.csv")], TableFormat(), "no").form.header is False
    else:
        layout = find_layout([str(tmp_path / "corpus.csv")], TableFormat())
        assert layout.form.header is header and "first line" in layout.why[-1]


# ---- What the command says to what it can't use


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nowhere", "--name=mine"], "nowhere: no such file or folder"),
        (["--name=mine"], "PATH must be given"),
        (["corpus.jsonl"], "--name must be given"),
        (["corpus.jsonl", "--name=tiny_ende"], "there is a problem of that name"),
        (["corpus.jsonl", "--name=My-Birds"], "lower-case letters, digits and underscores"),
        (["corpus.jsonl", "--name=mine", "--targets=anser"], "did you mean 'answer'?"),
        (["corpus.jsonl", "--name=mine", "--dev_percent=80"], "--dev_percent=80: a number from 0 to 50 expected"),
        (["corpus.txt", "--name=mine"], "plain text, which has no columns"),
        (["few.jsonl", "--name=mine"], "train has 3 rows, too few"),
    ],
)
def test_one_line_and_no_file(arguments, said, tmp_path, monkeypatch, run_command):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": text, "answer": text[::-1]} for text in sentences(40)]
    jsonl(tmp_path / "corpus.jsonl", rows)
    jsonl(tmp_path / "few.jsonl", rows[:3])
    (tmp_path / "corpus.txt").write_text("a\n")
    status, _, error = run_command(new_problem.main, *arguments)
    assert status == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "my_problems").exists()


# ---- Three first problems


def folder_of_pictures(folder):
    for number, name in enumerate(("owl", "wren", "crow")):
        (folder / "birds" / name).mkdir(parents=True)
        for i in range(20):
            (folder / "birds" / name / f"{i}.png").write_bytes(png(100 * number + i))
    return ["birds", "--name=first_birds"]


def csv_of_pairs(folder):
    rows = [f'"{text}","{text.upper()}"' for text in sentences(120)]
    (folder / "menus.csv").write_text("en,de\n" + "\n".join(rows) + "\n")
    return ["menus.csv", "--name=first_menus"]


def audiofolder(folder):
    (folder / "calls" / "train").mkdir(parents=True)
    lines = ["file_name,transcription"]
    for i, text in enumerate(sentences(40)):
        (folder / "calls" / "train" / f"{i}.wav").write_bytes(wav(0.2, seed=i))
        lines.append(f"{i}.wav,{text}")
    (folder / "calls" / "train" / "metadata.csv").write_text("\n".join(lines))
    return ["calls", "--name=first_calls"]


SMALL = (
    "hidden_size=8,num_heads=2,encoder_blocks=2,decoder_blocks=1,num_experts=2,experts_per_token=2,expert_filter_size=8"
)


@pytest.mark.slow
@pytest.mark.parametrize("make", [folder_of_pictures, csv_of_pairs, audiofolder])
def test_three_commands_to_a_trained_model(make, tmp_path, monkeypatch, run_command, user_folder):
    """The second and third command are those that the first one prints; only the model is smaller."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2T_USR_DIR", "")
    typed = make(tmp_path)
    status, out, error = run_command(new_problem.main, *typed)
    assert status == 0, error
    data, train = (shlex.split(line) for line in out.splitlines() if line.startswith("    t2t-"))
    assert (data[0], train[0]) == ("t2t-datagen", "t2t-trainer")
    status, out, error = run_command(datagen.main, *data[1:], "--workers=1", "--vocabulary_size=400")
    assert status == 0, error
    small = ["--train_steps=2", "--eval_batches=1", f"--hparams={SMALL}"]
    status, _, error = run_command(trainer.main, *train[1:], *small)
    assert status == 0, error
    (run,) = tmp_path.glob("run_first_*")
    assert (run / "checkpoints" / "step-000002").is_dir()
    status, _, error = run_command(new_problem.main, *typed)
    assert status == 2 and "there" in error  # the file, or the problem, exists
