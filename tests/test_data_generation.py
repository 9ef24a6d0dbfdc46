"""Data generation's promises: the store is what the problem says, the same bytes always, and notices what changed."""

import hashlib
import itertools
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.data_gen import partitions, shards, workers
from t2t_multimodel.data_gen.examples import Chunk, Record, key_of
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image, Label, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.store_index import INDEX_COLUMNS
from t2t_multimodel.vocabulary import Vocabulary

# ---- One problem of every kind of feature. They are not registered: tests over "every problem" are not about them.

WORDS = "small large red blue circle star left right of the is ein kleiner Kreis großer Stern".split()


class Sampled(Problem):
    """Base of these problems."""

    sizes = {"train": 1100, "dev": 40}
    splits = ("train", "dev")

    def samples(self, split):
        random = np.random.default_rng(len(split))
        for number in range(self.sizes[split]):
            yield self.sample(" ".join(random.choice(WORDS, random.integers(1, 12))), number)


class Reverse(Sampled):
    """Words to the same words backwards."""

    name = "test_reverse"
    inputs, targets = Text("English"), Text()
    separator = " "

    def sample(self, words, number):
        backwards = self.separator.join(words.split()[::-1])
        return {"inputs": words, "targets": backwards, "references": [backwards, words]}


class Picture(Sampled):
    name = "test_picture"
    inputs, targets = Image(6, 5, 3), Label(("even", "odd"))

    def sample(self, words, number):
        return {"inputs": number, "targets": ("even", "odd")[number % 2], "key": f"{len(words)}/{number}/{words}"}

    def prepare(self, sample):
        return {**sample, "inputs": np.random.default_rng(sample["inputs"]).integers(0, 256, (6, 5, 3), np.uint8)}


class Sound(Sampled):
    name = "test_sound"
    inputs, targets = Audio(8000), Text()

    def sample(self, words, number):
        return {"inputs": number, "targets": words}

    def prepare(self, sample):
        length = 20 + sample["inputs"] % 50
        return {**sample, "inputs": np.random.default_rng(length).integers(-(2**15), 2**15, length).astype(np.int16)}


class Sentiment(Sampled):
    name = "test_sentiment"
    inputs, targets = Text(), Label(("0", "1"))  # names that look like numbers
    command = "to_feeling"

    def sample(self, words, number):
        return {"inputs": words, "targets": str(1 - number % 2)}


KINDS = (Reverse, Picture, Sound, Sentiment)


def silent(line):
    pass


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generate([kind() for kind in KINDS], folder, workers=2, log=silent)
    return folder


@pytest.fixture
def own_data_dir(data_dir, tmp_path):
    return shutil.copytree(data_dir, tmp_path / "data")


def content_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected_examples(problem, split):
    """{key: prepared sample}"""
    samples = enumerate(problem.samples(split))
    return {raw.get("key", f"{split}-{number}"): problem.prepare(raw) for number, raw in samples}


# ---- What is stored


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_workers(data_dir, tmp_path):
    assert all(workers.recipe_of(kind()) for kind in KINDS), "workers can not make these problems"
    generate([kind() for kind in KINDS], tmp_path, workers=1, log=silent)
    assert content_of(tmp_path) == content_of(data_dir)


@pytest.mark.parametrize("kind", KINDS)
def test_tfds_opens_the_store_and_finds_the_samples(data_dir, kind):
    import tensorflow_datasets as tfds

    problem, vocabulary = kind(), Vocabulary.load(data_dir / "vocabulary")
    builder = tfds.builder_from_directory(data_dir / problem.name)
    for split in problem.splits:
        expected = expected_examples(problem, split)
        assert builder.info.splits[split].num_examples == len(expected)
        keys = []
        for example in builder.as_dataset(split=split).as_numpy_iterator():
            keys.append(example["key"].decode())
            sample = expected[keys[-1]]
            for side in ("inputs", "targets"):
                feature, stored = getattr(problem, side), example[side]
                if isinstance(feature, Text):
                    assert stored.dtype == np.int64 and stored.min() > 1  # no padding, no end-of-sequence
                    assert vocabulary.decode(stored) == sample[side]
                elif isinstance(feature, Label):
                    assert builder.info.features[side].int2str(stored) == sample[side]
                else:
                    assert stored.dtype == sample[side].dtype
                    np.testing.assert_array_equal(stored, sample[side])
            references = [text.decode() for text in example.get("references", ())]
            assert references == list(sample.get("references", ()))
        assert sorted(keys) == sorted(expected)
        assert keys != list(expected), "the examples are not shuffled"


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_the_bytes_that_tfds_makes(data_dir, kind):
    """But for the order of their features, which is sorted, so that it is the same on every run."""
    from tensorflow_datasets.proto import tf_example_pb2

    from t2t_multimodel.data_gen.examples import make_records, store_features

    problem, vocabulary = kind(), Vocabulary.load(data_dir / "vocabulary")
    raw = list(problem.samples("train"))
    features = store_features(problem, kind is Reverse)
    records = make_records(problem, features, vocabulary, "train", 0, raw).records
    for record, sample in zip(records, map(problem.prepare, raw), strict=True):
        example = {"key": record.key}
        if "references" in sample:
            example["references"] = sample["references"]
        for side in ("inputs", "targets"):
            is_text = isinstance(getattr(problem, side), Text)
            example[side] = np.array(vocabulary.encode(sample[side]), np.int64) if is_text else sample[side]
        theirs = tf_example_pb2.Example.FromString(features.serialize_example(example))
        assert record.content == theirs.SerializeToString(deterministic=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_index_points_at_every_record(data_dir, kind):
    problem, vocabulary = kind(), Vocabulary.load(data_dir / "vocabulary")
    folder = data_dir / problem.name
    manifest = json.loads((folder / "manifest.json").read_text())
    for split, about in manifest["splits"].items():
        index = np.load(folder / f"index-{split}.npz", allow_pickle=False)
        types = {name: index[name].dtype for name in index.files}
        assert types.pop("offset") == np.int64
        assert types == dict.fromkeys(("shard", "size", "input_length", "target_length"), np.int32)
        expected = expected_examples(problem, split)
        assert len(index["size"]) == about["examples"] == len(expected)
        files = [(folder / name).read_bytes() for name in about["files"]]
        for shard, offset, size, input_length, target_length in zip(*(index[name] for name in INDEX_COLUMNS)):
            sample = expected.pop(key_of(files[shard][offset : offset + size]))
            lengths = []
            for side in ("inputs", "targets"):
                if isinstance(getattr(problem, side), Text):
                    lengths.append(len(vocabulary.encode(sample[side])))
                else:
                    lengths.append(len(sample[side]) if isinstance(getattr(problem, side), Audio) else 1)
            assert [input_length, target_length] == lengths
        assert not expected
        assert about["input_tokens"] == index["input_length"].sum()
        assert about["target_tokens"] == index["target_length"].sum()


def test_the_manifest_says_what_the_model_and_the_user_need(data_dir):
    vocabulary = Vocabulary.load(data_dir / "vocabulary")
    manifests = {kind: json.loads((data_dir / kind.name / "manifest.json").read_text()) for kind in KINDS}
    for kind, manifest in manifests.items():
        assert manifest["problem"] == kind.name
        assert manifest["inputs"] == kind.inputs.bind(vocabulary).to_json()
        assert manifest["targets"] == kind.targets.bind(vocabulary).to_json()
        assert manifest["metrics"] == list(kind().metric_names)
        assert manifest["evaluation_split"] == "dev"
        assert manifest["dropped"] == []
    reverse, picture = manifests[Reverse], manifests[Picture]
    assert reverse["description"] == "Words to the same words backwards."
    assert reverse["vocabulary"]["digest"] == vocabulary.digest
    assert (data_dir / reverse["vocabulary"]["file"]).exists()
    assert reverse["command"] == {"name": "to_test_reverse", "id": vocabulary.commands["to_test_reverse"]}
    assert manifests[Sentiment]["command"] == {"name": "to_feeling", "id": 0}  # the target is no text
    assert picture["vocabulary"] is None
    assert picture["targets"]["classes"] == ["even", "odd"] and "classes" not in reverse["targets"]


def test_many_small_shards_hold_the_same_records_in_the_same_order(data_dir, tmp_path):
    generate([Picture()], tmp_path, workers=1, shard_bytes=20_000, log=silent)
    (few,), many = ([*sorted(d.glob("test_picture/test_picture-train.*"))] for d in (data_dir, tmp_path))
    assert len(many) > 3
    assert few.read_bytes() == b"".join(shard.read_bytes() for shard in many)
    verify(["test_picture"], tmp_path, log=silent)


@settings(max_examples=50, deadline=None)
@given(
    keys=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, min_size=1, max_size=40),
    order=st.randoms(),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    shard_bytes=st.sampled_from([1, 150, 400, 10**6]),
    rows_at_once=st.sampled_from([1, 7, 10**6]),
    mapped=st.sampled_from([0, 2, 100]),
)
def test_shards_depend_on_the_keys_alone(tmp_path_factory, keys, order, cuts, shard_bytes, rows_at_once, mapped):
    """However the samples were cut into partitions, the shards hold what sorting all of them in memory would give."""
    folder = tmp_path_factory.mktemp("partitions")
    records = [Record(key, key.encode() * (5 + len(key)), len(key), n) for n, key in enumerate(keys)]
    expected, files, index = sorted(records, key=lambda record: key_hash(record.key)), [[]], []
    for record in expected:
        if sum(len(r.content) + 16 for r in files[-1]) >= shard_bytes:
            files.append([])
        at = sum(len(r.content) + 16 for r in files[-1]) + 12
        index.append((len(files) - 1, at, len(record.content), record.input_length, record.target_length))
        files[-1].append(record)
    order.shuffle(records)
    made = []
    for start, end in itertools.pairwise([0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]):
        builder = partitions.PartitionBuilder(start)
        builder.add(Chunk(partitions.pack(records[start:end], seed=1), []))
        parts, about = builder.finished()
        made.append(partitions.Partition(str(folder / f"{len(made)}.records"), about))
        Path(made[-1].path).write_bytes(b"".join(parts))
    with mock.patch.multiple(shards, _ROWS_AT_ONCE=rows_at_once, _MOST_MAPPED=mapped):
        planned = shards.plan("p", "train", made, shard_bytes=shard_bytes)
    assert list(zip(*(planned.index[name].tolist() for name in INDEX_COLUMNS))) == index
    assert [shard.examples for shard in planned.shards] == list(map(len, files))
    for shard, expected in zip(planned.shards, files):
        about = shards.write_shard(folder / shard.name, shard)
        assert about["bytes"] == shard.bytes == (folder / shard.name).stat().st_size
        content = (folder / shard.name).read_bytes()
        assert [content[at : at + size] for number, at, size, *_ in index if number == shard.number] == [
            record.content for record in expected
        ]


def key_hash(key):
    return hashlib.blake2b(key.encode(), digest_size=16, salt=(1).to_bytes(8, "little")).digest()


# ---- A second run


def test_a_second_run_does_nothing_and_says_so(own_data_dir):
    before = {path: path.stat().st_mtime_ns for path in own_data_dir.rglob("*/*")}
    lines = []
    results = generate([kind() for kind in KINDS], own_data_dir, log=lines.append)
    assert {path: path.stat().st_mtime_ns for path in own_data_dir.rglob("*/*")} == before
    assert not any(result.made for result in results)
    assert len(lines) == len(KINDS) and all("nothing to do" in line for line in lines)


@pytest.mark.slow
def test_a_changed_argument_is_noticed_and_overwrite_makes_the_store_again(own_data_dir):
    changed = Reverse()
    changed.separator = "_"
    with pytest.raises(UserError, match="argument separator was ' ', is '_'.*--overwrite"):
        generate([changed], own_data_dir, log=silent)
    assert content_of(own_data_dir / "test_reverse")  # still there
    (result,) = generate([changed], own_data_dir, overwrite=True, log=silent)
    assert result.made and result.manifest["fingerprint"]["arguments"]["separator"] == "'_'"
    (result,) = generate([changed], own_data_dir, log=silent)
    assert not result.made
    assert not list(own_data_dir.glob("incomplete.*"))


def test_a_changed_source_file_is_noticed(tmp_path):
    class FromFile(Reverse):
        def source_files(self):
            return [str(tmp_path / "corpus.txt")]

    with pytest.raises(UserError, match="can't read its source .*corpus.txt: No such file"):
        generate([FromFile()], tmp_path / "data", log=silent)
    (tmp_path / "corpus.txt").write_text("one")
    generate([FromFile()], tmp_path / "data", log=silent)
    (tmp_path / "corpus.txt").write_text("one two")
    with pytest.raises(UserError, match=r"source file .*corpus.txt was \[3, .*, is \[7, "):
        generate([FromFile()], tmp_path / "data", log=silent)


@pytest.mark.slow
def test_another_vocabulary_is_noticed(own_data_dir):
    shutil.rmtree(own_data_dir / "vocabulary")
    with pytest.raises(UserError, match="the vocabulary was .*, is absent"):
        generate([Reverse()], own_data_dir, log=silent)
    generate([Reverse()], own_data_dir, overwrite=True, vocabulary_size=400, log=silent)
    with pytest.raises(UserError, match="test_sound does not fit .* the vocabulary was"):
        generate([Sound()], own_data_dir, log=silent)
    with pytest.raises(UserError, match="was trained for 400 ids"):
        generate([Reverse()], own_data_dir, vocabulary_size=500, log=silent)


def test_what_a_problem_only_declares_is_updated_in_place(own_data_dir):
    renamed = Reverse()
    renamed.metrics, renamed.command = ("exact_match",), "backwards"
    before = content_of(own_data_dir / "test_reverse")
    (result,) = generate([renamed], own_data_dir, log=silent)
    after = content_of(own_data_dir / "test_reverse")
    assert [name for name in before if before[name] != after[name]] == ["manifest.json"]
    assert result.manifest["metrics"] == ["exact_match"]
    assert result.manifest["command"]["id"] == Vocabulary.load(own_data_dir / "vocabulary").commands["backwards"]


def test_a_later_problem_reuses_the_vocabulary_and_gets_the_next_command(own_data_dir):
    class Later(Reverse):
        """Text in letters that the vocabulary has never seen."""

        name = "test_later"

        def sample(self, words, number):
            return {"inputs": "маленький круг", "targets": words}

    before = Vocabulary.load(own_data_dir / "vocabulary")
    lines = []
    generate([Later()], own_data_dir, log=lines.append)
    after = Vocabulary.load(own_data_dir / "vocabulary")
    assert after.digest == before.digest
    assert after.commands == before.commands | {"to_test_later": max(before.commands.values()) + 1}
    assert any("reused" in line for line in lines) and any("tokens a character" in line for line in lines)
    verify(["test_later"], own_data_dir, log=silent)


@pytest.mark.slow
def test_the_vocabulary_is_asked_for_by_flag_then_by_problem(tmp_path):
    class Asks(Reverse):
        vocabulary_size = 410

    for folder, flag, expected in (("a", None, 410), ("b", 420, 420)):
        generate([Asks(), Sound()], tmp_path / folder, vocabulary_size=flag, log=silent)
        table = json.loads((tmp_path / folder / "vocabulary" / "vocabulary.json").read_text())
        assert table["requested_size"] == expected


# ---- Planning


def test_a_dry_run_says_what_it_would_make_and_writes_nothing(tmp_path, own_data_dir):
    lines = []
    assert generate([kind() for kind in KINDS], tmp_path / "new", dry_run=True, log=lines.append) == []
    assert not (tmp_path / "new").exists()
    said = "\n".join(lines)
    assert "test_reverse train: 1,100 examples" in said and "test_picture dev: 40 examples" in said
    assert "vocabulary: would be trained" in said
    before = content_of(own_data_dir)
    lines.clear()
    changed = Reverse()
    changed.separator = "_"
    generate([changed, Sound()], own_data_dir, dry_run=True, log=lines.append)
    assert "generated again with --overwrite: argument separator" in lines[1]
    assert "test_sound: complete and unchanged, nothing to do" in lines
    assert content_of(own_data_dir) == before
