"""Exports answer as the run does: strings, encoded pictures and recordings in, the run's own answers out."""

import dataclasses
import importlib
import io
import json
import os
import shutil
import types

import numpy as np
import pytest
import soundfile
from PIL import Image as PillowImage
from small_exports import TEXTS, make

from t2t_multimodel import load
from t2t_multimodel.cli import evaluate, exporter
from t2t_multimodel.data_gen.readers.pictures import read_picture
from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.decode_hparams import decode_settings, describe
from t2t_multimodel.decoding.grammars import PunctuatedTree, Tree
from t2t_multimodel.errors import UserError
from t2t_multimodel.exporting import comparison
from t2t_multimodel.exporting.card import card
from t2t_multimodel.exporting.export import export
from t2t_multimodel.exporting.graph_grammars import rows_in_graph
from t2t_multimodel.exporting.readers import reader_of
from t2t_multimodel.exporting.slice import load_slice
from t2t_multimodel.modalities import Audio, Image
from t2t_multimodel.training.run_directory import RunDirectory

# (problem, what differs in decoding, whether the search is compiled as well)
EXPORTS = {
    "translation, compiled too": ("tiny_ende", {"max_length": 12}, True),
    "trees by their grammar, by beam search": ("tiny_parse", {"max_length": 40, "beam_size": 2}, False),
}
MORE = {
    "translation by beam search, compiled too": ("tiny_ende", {"beam_size": 3, "max_length": 12}, True),
    "class of a picture": ("tiny_image", {}, False),
    "text of a picture": ("tiny_caption", {"max_length": 12}, False),
    "text of a recording": ("tiny_speech", {"max_length": 12}, False),
    "text of a picture and a question": ("tiny_question", {"max_length": 12}, False),
}


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory):
    """The run directory that small_exports.py makes; its data is beside it."""
    return make(tmp_path_factory.mktemp("exported_run"))


@pytest.fixture(scope="module")
def predictor(exported_run):
    return load(exported_run)


def inputs_of(modality):
    """(what `Predictor.decode` takes, {input: what an export is sent}) of each of five inputs."""
    columns = {name: column_of(member) for name, member in modality.members or (("inputs", modality),)}
    mine, sent = ([dict(zip(columns, row)) for row in zip(*side)] for side in zip(*columns.values()))
    return mine if modality.members else [each["inputs"] for each in mine], sent


def column_of(modality):
    random = np.random.default_rng(1)
    if modality.modality_name == "text":
        return TEXTS, [text.encode() for text in TEXTS]
    if modality.modality_name == "image":
        pictures = [random.integers(0, 256, modality.shape, np.uint8) for _ in range(5)]
        return pictures, [encoded(picture, "PNG") for picture in pictures]
    sounds = [(random.normal(size=n) * 3000).astype(np.int16) for n in (4000, 9000, 700, 5000, 6001)]
    return sounds, [wav(sound, modality.rate) for sound in sounds]


def encoded(picture, format, **options):
    content = io.BytesIO()
    PillowImage.fromarray(picture).save(content, format, **options)
    return content.getvalue()


def wav(sound, rate):
    content = io.BytesIO()
    soundfile.write(content, sound, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


# ---- SavedModel


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPORTS)
def test_a_saved_model_answers_as_the_run_does(kind, exported_run, tmp_path, monkeypatch):
    """In a process of its own, asked with unusual inputs, in batches of several sizes."""
    check_export(*EXPORTS[kind], exported_run, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.skipif("T2T_TEST_EXPORTS" not in os.environ, reason="takes minutes; set T2T_TEST_EXPORTS=1")
@pytest.mark.parametrize("kind", MORE)
def test_every_kind_of_problem_answers_as_the_run_does(kind, exported_run, tmp_path, monkeypatch):
    check_export(*MORE[kind], exported_run, tmp_path, monkeypatch)


def check_export(problem, settings, xla, run, export_dir, monkeypatch):
    def questions_for(part, count, any_length):
        mine, sent = inputs_of(part.spec.inputs)
        made_up = questions_before(part, count, any_length)
        return comparison.Questions(mine + made_up.samples[:3], sent + made_up.sent[:3], made_up.origin)

    questions_before = comparison.questions_for
    monkeypatch.setattr(comparison, "questions_for", questions_for)
    done = export(run, problem, export_dir, decode_hparams=settings, xla=xla)
    assert done.folder == export_dir / "12" and [path.name for path in export_dir.iterdir()] == ["12"]
    signatures = ["serving_default", "serving_xla"] if xla else ["serving_default"]
    assert done.compared == dict.fromkeys(signatures, {"questions": 8, "equal": 8})
    assert done.compared_with.startswith("the first 6 examples of dev")
    about = json.loads((done.folder / "assets.extra" / "export.json").read_text(encoding="utf-8"))
    assert (about["problem"], about["step"], about["signatures"]) == (problem, 12, signatures)
    check_contents(done, load_slice(RunDirectory(run), problem, None, settings))


def check_contents(done, part):
    """The weights of the slice, once; and no operation but TensorFlow's own and Sentencepiece's."""
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    variables = sum(path.stat().st_size for path in (done.folder / "variables").iterdir())
    assert part.weight_bytes * 0.5 < variables < part.weight_bytes * 1.1 + 60_000  # the names, for each of them
    saved = SavedModel.FromString((done.folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    operations = {node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes}
    functions = {f.signature.name for f in graph.library.function}
    foreign = {name for name in operations - functions if not hasattr(tf.raw_ops, name)}
    assert {name for name in foreign if not name.startswith("Sentencepiece")} == set()
    assert not operations & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


def test_an_export_that_answers_otherwise_is_not_kept(exported_run, tmp_path, monkeypatch):
    from t2t_multimodel.exporting import hub

    def write(part, folder, xla, right=hub.write):
        for variable in part.model.trainable_variables:
            variable.assign(-variable)
        about = right(part, folder, xla)
        for variable in part.model.trainable_variables:
            variable.assign(-variable)
        return about

    monkeypatch.setattr(hub, "write", write)
    with pytest.raises(UserError, match=r"answers differ from the run's own, the first: .* instead of .*not kept"):
        export(exported_run, "tiny_image", tmp_path, format="hub")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["write", "compare", "_flush_all"])
@pytest.mark.parametrize("format", ["saved_model", "hub"])
def test_at_no_moment_does_half_an_export_look_whole(format, moment, exported_run, tmp_path, monkeypatch):
    """Whatever a kill would leave at that moment is a hidden name, which is no step; Ctrl-C leaves nothing at all."""
    from t2t_multimodel.exporting import export as exporting

    def interrupted(*_):
        left = [path.name for path in tmp_path.iterdir()]
        assert len(left) == 1 and left[0].startswith(".unfinished-12-")
        raise KeyboardInterrupt

    module = importlib.import_module(f"t2t_multimodel.exporting.{format}")
    monkeypatch.setattr(module, "write", lambda *_: {})
    monkeypatch.setattr(module, "compare", lambda *_: {})
    monkeypatch.setattr(exporting if moment == "_flush_all" else module, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(exported_run, "tiny_image", tmp_path, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command(exported_run, predictor, tmp_path, run_command, monkeypatch):
    asked = [f"--output_dir={exported_run}", f"--export_dir={tmp_path}"]
    status, out, error = run_command(exporter.main, *asked, "--problem=tiny_image")
    assert (status, error) == (0, "")
    assert out.startswith(f"{tmp_path / '12'}: ") and "serving_default: 32 of 32 answers are the run's own" in out
    check_classes(tmp_path / "12", predictor)

    wrong = {
        "--problem=tiny_image": "is there already; remove it, or name another --export_dir",
        "--problem=tiny_imag": "tiny_image",
        "--problem=tiny_image --format=saved_modle": "saved_model",
        "--problem=tiny_image --format=hub --xla": "--xla is of --format=saved_model",
        f"--problem=tiny_ende --format=litert --export_dir={tmp_path / 'text'}": "text, which --format=litert can",
        "--problem=tiny_ende --decode_hparams=temperature=0.5": "does not sample",
        "--problem=tiny_ende --step=3": "no checkpoint of step 3",
        f"--problem=tiny_ende --output_dir={tmp_path / 'none'}": "none holds no run",
    }
    for flags, reason in wrong.items():
        status, out, error = run_command(exporter.main, *asked, *flags.split())
        assert (status, out) == (2, "") and error.count("\n") == 1 and reason in error, flags
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, error = run_command(exporter.main, *asked, "--problem=tiny_image", "--format=onnx")
    assert status == 2 and "pip install 't2t-multimodel[onnx]'" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["12"]


def check_classes(folder, predictor):
    """What the SavedModel of a problem with classes answers to one picture, and to three."""
    import tensorflow as tf

    pictures, sent = inputs_of(predictor.spec("tiny_image").inputs)
    wanted = predictor.decode("tiny_image", pictures)
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    for rows in (slice(0, 1), slice(1, 4)):
        answer = signature(inputs=tf.constant([each["inputs"] for each in sent[rows]]))
        assert [name.decode() for name in answer["outputs"].numpy()] == wanted[rows]
        assert sorted(map(bytes.decode, answer["classes"].numpy()[0])) == sorted(
            predictor.spec("tiny_image").targets.classes
        )
        np.testing.assert_allclose(np.sum(answer["scores"], axis=1), 1, rtol=1e-5)
        assert (np.diff(answer["scores"], axis=1) <= 0).all(), "the likeliest class is the first"


# ---- What callers send


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_pictures_are_read_as_the_data_was(channels, fit):
    import tensorflow as tf

    modality = Image(12, 16, channels, fit=fit)
    reader = reader_of(modality, None)
    y, x = np.mgrid[0:40, 0:60]
    smooth = np.stack([4 * x, 6 * y, 2 * x + 3 * y, 255 - 4 * x], axis=-1).astype(np.uint8)
    files = [
        encoded(smooth, "PNG"),  # with transparency
        encoded(smooth[..., :3], "PNG"),
        encoded(smooth[..., 0], "PNG"),
        encoded(smooth[:12, :16, :3], "PNG"),
        encoded(smooth[..., :3], "BMP"),
        encoded(smooth[:16, :20, :3], "JPEG", quality=95),  # too small to be decoded at half of its size
        encoded(smooth[..., 0], "GIF"),
    ]
    got = reader.arrays(tf.constant(files))["values"].numpy()
    assert got.dtype == np.uint8 and got.shape == (len(files), *modality.shape)
    for file, its in zip(files, got):
        mine = read_picture("it", *modality.shape, fit=fit, content=file)
        assert np.abs(visible(mine) - visible(its)).max() <= 2


def visible(picture):
    """A picture's colours as strong as they are seen: one that is hardly visible has no definite colour."""
    picture = picture.astype(float)
    if picture.shape[-1] == 4:
        picture[..., :3] *= picture[..., 3:] / 255
    return picture


def test_recordings_are_read_as_the_data_was(tmp_path):
    import tensorflow as tf

    reader = reader_of(Audio(8000), None)
    seconds = np.arange(16000) / 16000
    tone = (8000 * np.sin(2 * np.pi * 440 * seconds) * np.hanning(16000)).astype(np.int16)
    files = [
        wav(tone[::2], 8000),
        wav(tone[::2][:500], 8000),
        wav(tone, 16000),
        wav(np.stack([tone, tone // 2], 1), 16000),
    ]
    got = reader.arrays(tf.constant(files))
    for number, file in enumerate(files):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(file)
        mine = read_recording(path, 8000)
        length = int(got["length"][number])
        assert length == len(mine)
        its = got["values"][number].numpy()
        exact = number < 2
        np.testing.assert_allclose(its[:length] * 32768, mine, atol=0 if exact else 40)
        assert not its[length:].any()


def test_grammars_see_the_same_words_in_the_graph(exported_run):
    import tensorflow as tf

    vocabulary = RunDirectory(exported_run).vocabulary()
    texts = ["the old ring", "it spins, then  stops!?", " \t öde\u00a0Straße… .", "", "a.b,", "...", "x"]
    for kind in (Tree, PunctuatedTree):
        grammar = kind.of(vocabulary, vocabulary.size)
        mine = grammar.rows([vocabulary.encode(text) for text in texts])
        its = rows_in_graph(grammar, tf.constant(texts), 64).numpy()
        assert its[:, 0].tolist() == mine[:, 0].tolist()
        for row, same in zip(its, mine):  # the most bytes of each leaf; what stands behind them is never looked at
            leaves = row[0]
            assert row[1 : leaves + 1].tolist() == same[1 : leaves + 1].tolist()


def test_what_is_read_from_arrays_alone_is_refused():
    from t2t_multimodel.modalities import Numbers

    with pytest.raises(UserError, match="inputs of numbers can't be exported: .* text, picture, sound"):
        reader_of(Numbers(names=("width",)), None)


# ---- A folder to publish


@pytest.fixture(scope="module")
def published_folder(exported_run, tmp_path_factory):
    """A published folder of tiny_ende, with scores on its card."""
    scores = {"tiny_ende": {"bleu": 12.5, "exact_match": 0, "bleu_signature": "x", "split": "test", "examples": 6}}
    (exported_run / "eval").mkdir()
    (exported_run / "eval" / "step-12.json").write_text(json.dumps(scores))
    done = export(exported_run, "tiny_ende", tmp_path_factory.mktemp("hub"), format="hub")
    assert done.compared == {"t2t_multimodel.load": {"questions": 32, "equal": 32}}
    return done.folder


@pytest.mark.slow
def test_a_published_folder_answers_as_the_run_does(published_folder, predictor, tmp_path):
    names = ["README.md", "config.json", "export.json", "model.safetensors", "vocabulary"]
    assert sorted(path.name for path in published_folder.iterdir()) == names
    alone = tmp_path / "elsewhere"
    shutil.copytree(published_folder, alone)
    for path in [*alone.iterdir()]:  # a download cache has links
        if path.is_file():
            path.symlink_to(path.rename(tmp_path / path.name))
    loaded = load(alone)
    assert (loaded.problems, loaded.step) == (["tiny_ende"], 12)
    assert loaded.decode("tiny_ende", TEXTS) == predictor.decode("tiny_ende", TEXTS)
    for path in published_folder.rglob("*.*"):
        assert str(published_folder.parent.parent).encode() not in path.read_bytes(), "a folder of this machine"


@pytest.mark.slow
def test_a_published_folder_answers_by_what_it_was_exported_with(exported_run, tmp_path):
    asked = {"beam_size": 2, "max_length": 12}
    done = export(exported_run, "tiny_ende", tmp_path, format="hub", decode_hparams=asked, questions=4)
    assert done.compared == {"t2t_multimodel.load": {"questions": 4, "equal": 4}}
    settings = load(done.folder).decode_settings("tiny_ende")
    assert asked.items() <= settings.items()
    with pytest.raises(UserError, match="an export gives one answer; set return_beams=0"):
        export(exported_run, "tiny_ende", tmp_path / "more", format="hub", decode_hparams={"return_beams": 2})


def test_a_card_says_where_its_scores_are_of_other_settings(exported_run, tmp_path):
    asked = {"beam_size": 2, "max_length": 12}
    scores = {"bleu": 12.5, "split": "test", "examples": 6, "decoding": describe(decode_settings(asked))}
    evaluate.write_scores({"tiny_ende": scores}, tmp_path, 12)
    directory = RunDirectory(exported_run)
    there = types.SimpleNamespace(path=tmp_path, run=directory.run)
    as_scored, greedy = (
        card(dataclasses.replace(load_slice(directory, "tiny_ende", None, settings), directory=there))
        for settings in (asked, {})
    )
    assert all("split, beam of 2, alpha 0.6, at most 12 ids:" in text for text in (as_scored, greedy))
    assert "model-index" in as_scored and "other settings" not in as_scored
    assert "model-index" not in greedy
    assert "This folder answers by other settings, which have other scores: greedy." in greedy


@pytest.mark.slow
def test_the_card_is_read_by_the_hubs_own_library(published_folder):
    hub = pytest.importorskip("huggingface_hub", reason="pip install huggingface_hub")
    read = hub.ModelCard.load(published_folder / "README.md")
    assert read.data.library_name == "t2t-multimodel" and read.data.pipeline_tag == "text-generation"
    found = {result.metric_type: (result.dataset_name, result.metric_value) for result in read.data.eval_results}
    assert found == {"bleu": ("tiny_ende", 12.5), "exact_match": ("tiny_ende", 0)}
    assert "| bleu | 12.5 |" in read.text and 't2t_multimodel.load("this folder")' in read.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, change, reason",
    [
        ("model.safetensors", lambda old: old[:-1], "bytes instead of"),
        ("model.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "not the file that config.json describes"),
        ("config.json", lambda old: old.replace(b'"step": 12', b'"step": 13'), "digest"),
        ("config.json", lambda old: old[:-5], "config.json"),
        ("vocabulary/bpe.model", lambda old: old + b"x", "bpe.model"),
        ("vocabulary/vocabulary.json", None, "vocabulary.json"),
        ("model.safetensors", os.mkfifo, "a pipe"),
    ],
)
def test_a_strangers_folder_is_checked(name, change, reason, published_folder, tmp_path):
    folder = shutil.copytree(published_folder, tmp_path / "folder")
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if change is os.mkfifo:
        os.mkfifo(path)
    elif change:
        path.write_bytes(change(content))
    with pytest.raises(UserError, match=reason) as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_published_folder_has_one_step(published_folder):
    with pytest.raises(UserError, match="holds step 12 alone, not 7"):
        load(published_folder, step=7)
