"""LibriSpeech, OpenSLR's folders or prepared by TensorFlow Datasets: both read alike, and what is missing is named."""

import json

import numpy as np
import pytest
import soundfile
from own_files import prepared

from t2t_multimodel import registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.problems.librispeech import Librispeech
from t2t_multimodel.vocabulary import Vocabulary

CHAPTERS = {"train-clean-100": ("103", "1240"), "dev-clean": ("84", "121123"), "test-clean": ("61", "70968")}


def sound(seed):
    return np.random.default_rng(seed).integers(-3000, 3000, 800 + seed).astype(np.int16)


@pytest.fixture
def manual(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_folders", {"manual": tmp_path / "manual", "download": tmp_path / "downloads"})
    return tmp_path / "manual"


@pytest.fixture
def tree(manual):
    """OpenSLR's folders, a chapter of two utterances for each subset."""
    root = manual / "librispeech" / "LibriSpeech"
    for subset, (speaker, chapter) in CHAPTERS.items():
        folder = root / subset / speaker / chapter
        folder.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{number:04d}" for number in range(2)]
        for number, name in enumerate(names):
            soundfile.write(folder / f"{name}.flac", sound(number), 16000)
        lines = [f"{name} CHAPTER ONE IT'S {subset.split('-')[0].upper()} {name[-1]}\n" for name in names]
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text("; speakers\n")
    return root


def generate(run_command, manual, *more):
    data_dir = manual.parent / "data"
    argv = ("--problem=librispeech", f"--data_dir={data_dir}", f"--manual_dir={manual}", "--workers=1", *more)
    status, out, err = run_command(datagen.main, *argv)
    return data_dir, status, out + err


def stored(data_dir, split):
    """{key: (PCM, text)} of a split."""
    store = ExampleStore(data_dir, "librispeech")
    vocabulary = Vocabulary.load(store.vocabulary_folder)
    examples = store.split(split).examples(range(len(store.split(split))))
    pcm = lambda heard: heard if heard.dtype == np.int16 else np.rint(heard * 32768).astype(np.int16)
    return {e["key"]: (pcm(e["inputs"]), vocabulary.decode(e["targets"].tolist())) for e in examples}


def assert_is_all(data_dir):
    for split, subset in (("train", "train-clean-100"), ("dev", "dev-clean"), ("test", "test-clean")):
        found = stored(data_dir, split)
        assert sorted(found) == [f"{'-'.join(CHAPTERS[subset])}-{number:04d}" for number in range(2)]
        for number, key in enumerate(sorted(found)):
            assert found[key][1] == f"chapter one it's {split} {number}"
            assert (found[key][0] == sound(number)).all()


def test_the_folder_tree_becomes_train_dev_and_test(tree, manual, run_command):
    data_dir, status, said = generate(run_command, manual)
    assert status == 0, said
    assert_is_all(data_dir)
    assert json.loads((data_dir / "librispeech" / "manifest.json").read_text())["metrics"] == ["wer", "cer"]
    _, status, said = generate(run_command, manual)
    assert status == 0 and "nothing to do" in said


def test_what_tensorflow_datasets_has_prepared_becomes_the_same(tree, manual, run_command):
    prepare_with_tfds(tree, manual.parent / "downloads")
    tree.rename(manual / "elsewhere")
    data_dir, status, said = generate(run_command, manual, f"--download_dir={manual.parent / 'downloads'}")
    assert status == 0, said
    assert_is_all(data_dir)


def prepare_with_tfds(tree, downloads):
    """Writes what TFDS's own builder would; its FLAC decoder takes ffmpeg, so the sound is handed over decoded."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder("librispeech", data_dir=downloads)
    folder = builder.data_path
    folder.mkdir(parents=True)
    splits = []
    for subset, (speaker, chapter) in CHAPTERS.items():
        split = {"train-clean-100": "train_clean100"}.get(subset, subset.replace("-", "_"))
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder,
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            dataset_name="librispeech",
            split=split,
            filetype_suffix="tfrecord",
        )
        lines = (tree / subset / speaker / chapter / f"{speaker}-{chapter}.trans.txt").read_text().splitlines()
        with tf.io.TFRecordWriter(f"{folder}/librispeech-{split}.tfrecord-00000-of-00001") as writer:
            for number, line in enumerate(lines):
                name, text = line.split(" ", 1)
                ids = {"speaker_id": int(speaker), "chapter_id": int(chapter), "id": name}
                example = builder.info.features.encode_example({"speech": sound(number), "text": text, **ids})
                writer.write(builder.info.features.serialize_example(example))
        splits.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[len(lines)], num_bytes=1, filename_template=template)
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=builder.info.features, split_infos=splits, check_data=False
    )


def test_subsets_are_a_class_attribute(tree):
    class Noisy(Librispeech):
        """Both."""

        name = "noisy"
        train_subsets = ("train-clean-100", "dev-clean")
        dev_subsets = test_subsets = ("test-clean",)

    assert [s["key"][:3] for s in prepared(Noisy(), "train")] == ["103", "103", "84-", "84-"]
    assert Noisy().arguments() != registry.problem("librispeech").arguments()


def test_recordings_and_transcripts_that_lack_each_other_are_named(tree, manual, run_command):
    folder = tree / "train-clean-100" / "103" / "1240"
    lines = folder / "103-1240.trans.txt"
    (folder / "103-1240-0000.flac").unlink()
    whole = (folder / "103-1240-0001.flac").read_bytes()
    for number in (2, 3, 4):
        (folder / f"103-1240-000{number}.flac").write_bytes(whole)
    (folder / "103-1240-0004.flac").write_bytes(whole[: len(whole) // 2])
    lines.write_text(lines.read_text() + "103-1240-0003\n103-1240-0004 CUT\n")

    _, status, said = generate(run_command, manual)
    missing = f"{folder}/103-1240-0000.flac: no such file, though {lines}:1 has its transcript"
    assert status == 2 and f"bad record 103-1240-0000: {missing}" in said

    data_dir, status, said = generate(run_command, manual, "--max_bad_records=4")
    assert status == 0, said
    assert list(stored(data_dir, "train")) == ["103-1240-0001"]
    manifest = json.loads((data_dir / "librispeech" / "manifest.json").read_text())
    reasons = {entry["key"][-1]: entry["reason"] for entry in manifest["dropped"]}
    assert reasons.pop("4").startswith(f"{folder}/103-1240-0004.flac: can't be decoded as a recording")
    assert reasons == {
        "0": missing,
        "2": f"{folder}/103-1240-0002.flac: has no transcript: no line of {lines} begins with 103-1240-0002",
        "3": f"{lines}:3: no words behind '103-1240-0003'; expected: name, blank, transcript",
    }


def test_a_chapter_without_transcripts_names_the_file(tree):
    lines = tree / "dev-clean" / "84" / "121123" / "84-121123.trans.txt"
    lines.unlink()
    with pytest.raises(ValueError, match=rf"84-121123-0000\.flac: has no transcript: there is no {lines}"):
        prepared(registry.problem("librispeech"), "dev")


def test_a_missing_corpus_says_both_ways_to_get_it(manual, tree):
    (tree / "test-clean").rename(tree / "test-other")
    with pytest.raises(MissingCorpus, match=r"no .*/test-clean: LibriSpeech has to be obtained from OpenSLR"):
        registry.problem("librispeech").source_files()
    tree.rename(manual / "elsewhere")
    with pytest.raises(MissingCorpus, match=r"no .*LibriSpeech: .*TensorFlow Datasets in the download folder"):
        registry.problem("librispeech").source_files()


def test_a_subset_that_tensorflow_datasets_has_not_prepared(tree, manual):
    prepare_with_tfds(tree, manual.parent / "downloads")
    tree.rename(manual / "elsewhere")
    problem = type("Other", (Librispeech,), {"name": "other", "test_subsets": ("test-other",)})()
    with pytest.raises(UserError, match="no split 'test_other'; it has dev_clean, test_clean, train_clean100"):
        problem.source_files()
