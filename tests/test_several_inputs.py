"""Problems that read several inputs, and none: declared, stored, batched, encoded, trained, decoded, looked at."""

from dataclasses import replace

import numpy as np
import pytest
from models import HPARAMS, LABEL, SPECTROGRAM, TEXT, WAVEFORM, make_model, program
from small_world import HPARAMS as SMALL
from small_world import make_trainer

from t2t_multimodel import load, registry
from t2t_multimodel.cli import decoder, inspect_data
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.summary import table
from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.decoding.grammars import grammar_of
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.batching import BatchStream, evaluation_batches
from t2t_multimodel.input.padding import columns_of, make_batch
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Audio, Image, Inputs, Modality, NoInput, ProblemSpec, Text
from t2t_multimodel.problem import Problem, declaration_faults, reversed_problem
from t2t_multimodel.testing import check_problem
from t2t_multimodel.training.evaluation import evaluate_run

PICTURE = Image(8, 8, 3)
COUNTS = {"train": 24, "dev": 6, "test": 6}


class Said(Problem):
    """A word, a sound and a picture to a sentence about them."""

    inputs = {"word": Text(symbols="odd|even"), "sound": Audio(1000), "picture": PICTURE}
    targets = Text()
    metrics = ("exact_match",)
    vocabulary_size = 400

    def samples(self, split):
        for i in range(COUNTS[split]):
            rng = np.random.default_rng([i, *split.encode()])
            yield {
                "inputs": {
                    "word": "the " * rng.integers(1, 6) + ("odd" if i % 2 else "even"),
                    "sound": rng.integers(-3000, 3000, 200 + 10 * i).astype(np.int16),
                    "picture": rng.integers(0, 256, PICTURE.shape).astype(np.uint8),
                },
                "targets": f"number {i} is {'odd' if i % 2 else 'even'}",
            }


class Tales(Problem):
    """A language model: sentences out of nothing."""

    inputs = None
    targets = Text()
    metrics = ("exact_match",)
    vocabulary_size = 400

    def samples(self, split):
        for i in range(COUNTS[split]):
            yield {"targets": f"once upon a time {split} there were {i} birds"}


class Words(Problem):
    """From text to text, whose vocabulary the others share."""

    inputs, targets = Text(), Text()
    metrics = ("exact_match",)
    vocabulary_size = 400

    def samples(self, split):
        for i in range(COUNTS[split]):
            yield {"inputs": f"{split} {i}", "targets": f"{i} {split}"}


for kind in (Said, Tales, Words):
    kind.name = f"several_{kind.__name__.lower()}"
NAMES = tuple(kind.name for kind in (Said, Tales, Words))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    results = generate([Said(), Tales(), Words()], folder, workers=1, log=lambda line: None, progress=False)
    assert "+ 0.3 s of sound + image" in table(NAMES, results, 1.0)
    assert "nothing →" in table(NAMES, results, 1.0)
    return folder


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("run")
    hparams = replace(SMALL, batch_tokens=512, train_steps=4)
    assert make_trainer(data_dir, output_dir, hparams, NAMES[:2], save_interval=4).run() == 0
    return output_dir


@pytest.fixture(scope="module")
def predictor(run):
    return load(run)


# ---- Declarations


def test_a_dict_and_none_are_modalities():
    assert (
        Said.inputs
        == Said().inputs
        == Inputs(tuple({"word": Text(), "sound": Audio(1000), "picture": PICTURE}.items()))
    )
    assert Tales.inputs == NoInput() and Problem.inputs is None
    problem = Words()
    problem.inputs = {"a": Text()}
    assert problem.inputs == Inputs((("a", Text()),))
    assert any("must say its inputs" in fault for fault in declaration_faults(Problem()))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "must have a member"),
        ({"two words": Text()}, "letters, digits and underscores, not 'two words'"),
        ({"values": Text()}, "not 'values'"),
        ({"a": Text}, "'a' is <class"),
        ({"a": None}, "'a' is None"),
        ({"a": NoInput()}, "'a' is NoInput"),
        ({"a": Image(0, 1, 1)}, "'a' must have sides"),
        ({"a": LABEL}, "no net that reads label"),
        ({"a": Audio(8000), "a_length": Text()}, "two arrays of one name"),
    ],
)
def test_wrong_members_are_said_in_a_clause(members, said):
    problem = Words()
    problem.inputs = members
    (fault,) = declaration_faults(problem)
    assert said in fault and "\n" not in fault


def test_json_and_back():
    for modality in (Said.inputs, NoInput()):
        assert Modality.from_json(modality.to_json()) == modality
    assert list(dict(Modality.from_json(Said.inputs.to_json()).members)) == ["word", "sound", "picture"]


def test_neither_is_plain_text(data_dir):
    for name, kind in zip(NAMES, (Said, Tales)):
        with pytest.raises(UserError, match="only problems from text to text"):
            reversed_problem(kind())
        spec = ExampleStore(data_dir, name).spec
        assert grammar_of(replace(spec, grammar="tree"), None) is None


@pytest.mark.parametrize("kind", [Said, Tales])
def test_the_contract_holds(kind):
    check_problem(kind, worker=False)


# ---- Samples and the store


def test_from_a_line_and_from_a_dict(tmp_path):
    pair = Inputs((("word", Text()), ("other", Text())))
    assert (
        pair.from_line("one\ttwo") == pair.from_line({"other": "two", "word": "one"}) == {"word": "one", "other": "two"}
    )
    for wrong, said in (
        ("one", r"2 columns with a tab between them \(word, other\), it has 1"),
        ("a\tb\tc", "it has 3"),
        ({"word": "one"}, "'word', 'other' expected, it has 'word'"),
        (["one", "two"], "got list"),
        ({"word": 3, "other": "two"}, "word: it must be a string"),
    ):
        with pytest.raises(ValueError, match=said):
            pair.from_line(wrong)
    assert NoInput().from_line("") is NoInput().from_line(None) is None
    with pytest.raises(ValueError, match="reads no input"):
        NoInput().from_line("hello")


def test_the_store_gives_back_what_it_got(data_dir):
    verify(NAMES, data_dir, log=lambda line: None)
    store = ExampleStore(data_dir, NAMES[0])
    split, vocabulary = store.split("train"), store.vocabulary()
    assert split.input_length.shape == (24, 3) and (split.input_length[:, 2] == 1).all()
    assert store.manifest["splits"]["train"]["input_tokens"] == split.input_length.sum(axis=0).tolist()
    expected = {f"train-{i}": sample for i, sample in enumerate(Said().samples("train"))}
    for example, lengths in zip(split.examples(np.arange(24)), split.input_length):
        inputs, right = example["inputs"], expected[example["key"]]["inputs"]
        assert vocabulary.decode(inputs["word"].tolist()) == right["word"]
        np.testing.assert_array_equal(inputs["sound"], right["sound"])
        np.testing.assert_array_equal(inputs["picture"], right["picture"])
        assert lengths.tolist() == [len(inputs["word"]), len(right["sound"]), 1]
    assert len(vocabulary.encode("the odd")) <= 1 + len(vocabulary.encode("the"))  # symbols of a member
    tales = ExampleStore(data_dir, NAMES[1]).split("dev").examples(np.arange(6))
    assert [example["inputs"] for example in tales] == [{}] * 6


def test_batches_keep_to_the_budget(data_dir):
    store = ExampleStore(data_dir, NAMES[0])
    hparams = replace(SMALL, batch_tokens=300)
    stream = BatchStream(store, "train", hparams, 0)
    first = [stream.next() for _ in range(4)]
    stream.close()
    evaluated = list(evaluation_batches(store, "train", hparams))
    assert sorted(row for batch in evaluated for row in batch.rows.tolist()) == list(range(24))
    inputs, targets = (getattr(store.spec, side) for side in ("inputs", "targets"))
    for batch in (*first, *evaluated):
        arrays = batch.arrays
        assert arrays.keys() >= {"inputs_word", "inputs_sound", "inputs_sound_length", "inputs_picture", "targets"}
        padded = [arrays["inputs_word"].shape[1], arrays["inputs_sound"].shape[1], 1]
        positions = inputs.lengths(hparams, "inputs").positions(padded) + arrays["targets"].shape[1]
        assert batch.examples == 1 or batch.examples * positions <= 300
        assert batch.input_tokens <= batch.examples * inputs.lengths(hparams, "inputs").positions(padded)


def test_a_text_too_long_is_left_out(data_dir):
    store = ExampleStore(data_dir, NAMES[0])
    longest = store.split("train").input_length[:, 0].max()
    stream = BatchStream(store, "train", replace(SMALL, batch_tokens=512, max_input_length=int(longest) - 1), 0)
    assert 0 < stream.left_out < 24


# ---- The nets

SEVERAL = Inputs((("word", TEXT), ("wave", WAVEFORM), ("picture", Image(7, 10, 3)), ("spectrum", SPECTROGRAM)))
SPEC = ProblemSpec("several", SEVERAL, TEXT, 3)
TO_LABEL = ProblemSpec("several_to_label", SEVERAL, LABEL)
ALONE = ProblemSpec("alone", TEXT, TEXT, 3)
NOTHING = ProblemSpec("nothing", NoInput(), TEXT, 3)


def batch_of(spec, rows=3, longer=(0, 0, 0, 0)):
    rng = np.random.default_rng(0)
    samples = []
    for row in range(rows):
        sounds = [rng.integers(-3000, 3000, n - 20 * row).astype(np.int16) for n in (160, 120)]
        picture = rng.integers(0, 256, (7, 10, 3)).astype(np.uint8)
        samples.append(
            dict(zip(("word", "wave", "picture", "spectrum"), ([5, 7, 9][: 3 - row], sounds[0], picture, sounds[1])))
        )
    columns = columns_of(samples) if spec.inputs is SEVERAL else columns_of([sample["word"] for sample in samples])
    columns = {} if spec is NOTHING else columns
    targets = columns_of([[6, 8, 10, 12][: 4 - row] for row in range(rows)])
    targets = columns_of(list(range(rows))) if spec.targets is LABEL else targets
    base = np.array([4, 160, 1, 120])
    return make_batch(spec, columns, targets, input_length=base + longer if spec.inputs is SEVERAL else 0)


@pytest.fixture(scope="module")
def model():
    return make_model(HPARAMS, [SPEC, TO_LABEL, ALONE, NOTHING])


def test_members_are_read_as_if_alone(model):
    """Each row holds the real positions of all members, one after the other, and zeros behind them."""
    net, arrays = model.input_encoder(SPEC), SEVERAL.of_batch(batch_of(SPEC), "inputs")
    x, padding_mask, grid = net(arrays)
    expected, lengths = [[], [], []], 0
    for i, (name, member) in enumerate(SEVERAL.members):
        own = {each: arrays[f"{name}_{each}" if each != "values" else name] for each in member.tensors()}
        alone, mask, _ = (np.asarray(each) if each is not None else None for each in net.parts[i](own))
        lengths += alone.shape[1]
        for row in range(3):
            expected[row].extend(alone[row, mask[row] > 0] + np.asarray(net.member)[i] * net.scale)
    assert x.shape[1] == lengths and grid is None and len(expected[2]) < len(expected[0])
    for row in range(3):
        real = len(expected[row])
        np.testing.assert_allclose(np.asarray(x)[row, :real], expected[row], rtol=1e-5, atol=1e-5)
        assert not np.asarray(x)[row, real:].any()
        assert np.asarray(padding_mask)[row].tolist() == [1.0] * real + [0.0] * (lengths - real)


def test_members_share_their_nets_with_other_problems(model):
    assert model.input_encoder(SPEC).parts[0] is model.input_encoder(ALONE)
    paths = [variable.path for variable in model.trainable_variables]
    assert len(paths) == len(set(paths)) == len({id(v) for v in model.trainable_variables})
    mine = {variable.path for variable in model.trainable_variables_for(SPEC)}
    assert {v.path for v in model.input_encoder(ALONE).input_variables} < mine
    assert model.input_encoder(SPEC).member.path in mine


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, TO_LABEL], ids=["text", "label"])
def test_padding_of_a_member_does_not_leak(model, spec):
    run = program(model, lambda batch: {"loss": model.loss(batch, spec)[0], "outputs": model(batch, spec=spec)[0]})
    short = run(batch_of(spec))
    for longer in ((5, 0, 0, 0), (0, 64, 0, 0), (3, 32, 0, 90)):
        found = run(batch_of(spec, longer=longer))
        np.testing.assert_allclose(found["loss"], short["loss"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["outputs"], short["outputs"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_every_member_counts(model):
    run = program(model, lambda batch: model(batch, spec=SPEC)[0])
    batch = batch_of(SPEC)
    before = run(batch)
    for name, change in (
        ("inputs_word", lambda a: np.where(a > 4, a + 1, a)),
        ("inputs_wave", lambda a: a[:, ::-1].copy()),
        ("inputs_picture", lambda a: 255 - a // 2 * (np.arange(10)[:, None] % 2).astype(np.uint8)),
        ("inputs_spectrum", lambda a: a * np.float32(0.01)),
    ):
        assert np.abs(run(batch | {name: change(batch[name])})[0] - before[0]).max() > 1e-4, name


def test_nothing_is_one_position(model):
    batch = batch_of(NOTHING)
    x, padding_mask, grid = model.input_encoder(NOTHING)(NoInput().of_batch(batch, "inputs"))
    assert x.shape == (3, 1, HPARAMS.hidden_size) and np.asarray(padding_mask).all() and grid is None
    np.testing.assert_array_equal(np.asarray(x)[0], np.asarray(x)[2])
    assert np.isfinite(float(model.loss(batch, NOTHING)[0]))


# ---- A run


@pytest.mark.slow
def test_both_are_trained_and_scored(run, data_dir):
    scores = evaluate_run(run, NAMES[:2], data_dir, report=lambda line: None)
    assert set(scores) == set(NAMES[:2])
    for of_problem in scores.values():
        assert of_problem["examples"] == 6 and np.isfinite(of_problem["teacher_forced_log_perplexity"])


@pytest.mark.slow
def test_dicts_are_decoded(predictor):
    samples = [sample["inputs"] for sample in Said().samples("test")]
    answers = predictor.decode(NAMES[0], samples, max_length=5)
    assert len(answers) == 6 and all(isinstance(answer, str) for answer in answers)
    assert predictor.decode(NAMES[0], samples[2:3], max_length=5) == answers[2:3]
    assert predictor.decode(NAMES[0], []) == []
    assert len(predictor.decode(NAMES[1], [None, ""], max_length=5)) == 2
    with pytest.raises(UserError, match="several_said: input 2: .*it has 'word'"):
        predictor.decode(NAMES[0], [samples[0], {"word": "odd"}])
    long = samples[0] | {"word": "odd " * 300}
    with pytest.raises(UserError, match="input 1 is longer"):
        predictor.decode(NAMES[0], [long])


@pytest.mark.slow
def test_files_are_decoded(run, predictor, monkeypatch, tmp_path, run_command):
    import soundfile
    from PIL import Image as Pillow

    monkeypatch.setattr("t2t_multimodel.predictor.load", lambda *_, **__: predictor)  # its programs are compiled
    lines = []
    for i, sample in enumerate(Said().samples("test")):
        inputs = sample["inputs"]
        soundfile.write(tmp_path / f"{i}.wav", inputs["sound"], 1000, subtype="PCM_16")
        Pillow.fromarray(inputs["picture"]).save(tmp_path / f"{i}.png")
        lines.append(f"{inputs['word']}\t{tmp_path}/{i}.wav\t{tmp_path}/{i}.png")
    source = tmp_path / "in.txt"
    flags = [f"--output_dir={run}", f"--decode_from_file={source}", "--decode_hparams=max_length=5"]
    source.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    status, out, _ = run_command(decoder.main, f"--problem={NAMES[0]}", *flags)
    inputs = [sample["inputs"] for sample in Said().samples("test")]
    right = predictor.decode(NAMES[0], inputs, max_length=5)
    assert (status, out.split("\n")) == (0, [right[0], "", *right[1:], ""])
    for line, said in (
        ("odd", "input 1: it must have 3 columns with a tab between them (word, sound, picture), it has 1"),
        (f"odd\t{tmp_path}/none.wav\t{tmp_path}/0.png", "input 1: sound: "),
    ):
        source.write_text(line + "\n")
        status, _, error = run_command(decoder.main, f"--problem={NAMES[0]}", *flags)
        assert status == 2 and said in error and error.count("\n") == 1
    source.write_text("\n\n\n")
    status, out, _ = run_command(decoder.main, f"--problem={NAMES[1]}", *flags)
    assert (status, out.count("\n")) == (0, 3)


@pytest.mark.slow
def test_the_data_is_shown(data_dir, tmp_path, run_command):
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "-n", "2", "--hparams_set=multimodel_tiny"]
    before = registry.problems.snapshot()
    for kind in (Said, Tales):
        registry.register_problem(kind)
    status, out, error = run_command(inspect_data.main, f"--problem={NAMES[0]},{NAMES[1]}", *flags)
    registry.problems.restore(before)
    assert status == 0, error
    for said in ("word, sound, picture", "picture, 8 × 8 × 3", "s at 1000 Hz", "(none)", "inputs-picture.png"):
        assert said in out
    rows = [line.split()[:5] for line in out.splitlines()]
    assert ["train", "word", "24", "tokens"] in [row[:4] for row in rows]
    assert ["train", "sound", "24", "seconds"] in [row[:4] for row in rows]


def test_names():
    assert {"inputs", "no_input"} <= set(registry.modalities.names())
    assert not Inputs((("a", Text()),)).can_be_target and not NoInput().can_be_target
