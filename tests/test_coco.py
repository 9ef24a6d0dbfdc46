"""COCO captions in the official zips, unpacked, and from TFDS: five captions a picture, each split its own pictures."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from official_pictures import colour_of, jpeg, use_folders
from own_files import prepared

from t2t_multimodel import registry
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.data_gen.readers.parts import part_of
from t2t_multimodel.errors import UserError

TRAIN = [f"COCO_train2014_{i:012d}.jpg" for i in (9, 25, 30)]
VAL = [f"COCO_val2014_{i:012d}.jpg" for i in range(42, 82)]


def grey(name):
    return 3 * (int(name[-6:-4]) % 80)


def captions_of(name):
    return [f"A grey picture, {grey(name)} of 255.\n", " A grey  thing", "grey all over", "Nothing but grey.", "grey"]


def annotations(year, names):
    """captions_<year>.json as its owners write it; captions come in no order."""
    number = {name: int(name[-16:-4]) for name in names}
    entries = [
        {"image_id": number[name], "id": 10 * number[name] + i, "caption": text}
        for i in (3, 0, 4, 1, 2)
        for name in reversed(names)
        for text in [captions_of(name)[i]]
    ]
    images = [{"license": 1, "file_name": name, "height": 48, "width": 64, "id": number[name]} for name in names]
    return {"info": {"year": 2014}, "images": images, "licenses": [], "annotations": entries}


def write_corpus(folder, packed):
    folder.mkdir(parents=True)
    years = {"train2014": TRAIN, "val2014": VAL}
    lists = {year: json.dumps(annotations(year, names)).encode() for year, names in years.items()}
    files = {"annotations_trainval2014": {f"annotations/captions_{year}.json": lists[year] for year in years}}
    for year, names in years.items():
        files[year] = {f"{year}/{name}": jpeg([grey(name)] * 3, 48, 64) for name in names}
    for archive, content in files.items():
        if packed:
            with zipfile.ZipFile(folder / f"{archive}.zip", "w") as file:
                file.writestr(next(iter(content)).partition("/")[0] + "/", b"")
                for name, data in content.items():
                    file.writestr(name, data, zipfile.ZIP_STORED if name.endswith("jpg") else zipfile.ZIP_DEFLATED)
        else:
            for name, data in content.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(data)


@pytest.fixture
def manual(tmp_path, monkeypatch):
    return use_folders(monkeypatch, tmp_path)


@pytest.fixture
def problem(manual):
    """The problem over the official zips."""
    write_corpus(manual / "coco_caption", packed=True)
    return registry.problem("coco_caption")


def check_samples(problem, names_of):
    """Every split has the pictures of `names_of`, in training one example a caption, else one with all of them."""
    for split, names in names_of.items():
        samples = prepared(problem, split)
        assert sorted({s["key"].partition("#")[0] for s in samples}) == sorted(names)
        assert len(samples) == len(names) * (5 if split == "train" else 1)
        for sample in samples:
            name, _, number = sample["key"].partition("#")
            texts = [" ".join(text.split()) for text in captions_of(name)]
            assert sample["references"] == texts
            assert sample["targets"] == texts[int(number) % 10]  # captions are numbered in their order
            assert sample["inputs"].shape == (64, 64, 3)
            np.testing.assert_allclose(colour_of(sample["inputs"]), grey(name), atol=2)


@pytest.mark.parametrize("packed", [True, False])
def test_packed_and_unpacked(packed, manual):
    write_corpus(manual / "coco_caption", packed)
    parts = {name: part_of(name, 8) for name in VAL}
    expected = {
        "train": TRAIN + [name for name in VAL if parts[name] > 1],
        "dev": [name for name in VAL if parts[name] == 0],
        "test": [name for name in VAL if parts[name] == 1],
    }
    assert all(expected.values())
    check_samples(registry.problem("image_ms_coco_tokens_8k"), expected)


def test_karpathy_and_lis_splits_where_their_list_lies_beside(problem, manual):
    split_of = {TRAIN[0]: "train", TRAIN[1]: "train", VAL[0]: "val", VAL[1]: "test", VAL[2]: "restval"}
    images = [{"filename": name, "split": split, "imgid": 0} for name, split in split_of.items()]
    (manual / "coco_caption" / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    check_samples(problem, {"train": [*TRAIN[:2], VAL[2]], "dev": VAL[:1], "test": VAL[1:2]})
    assert str(manual / "coco_caption" / "dataset_coco.json") in problem.source_files()


def test_prepared_by_tfds(manual, monkeypatch):
    """Its builder downloads, so only its split and example generators are replaced; features and files are its own."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.object_detection.coco_captions import CocoCaptions

    names_of = {"train": TRAIN, "val": VAL[:2], "test": VAL[2:4], "restval": VAL[4:6]}

    def examples(names):
        for name in names:
            numbered = [(10 * int(name[-16:-4]) + i, text) for i, text in enumerate(captions_of(name))]
            yield (
                name,
                {
                    "image": np.full((48, 64, 3), grey(name), np.uint8),
                    "image/filename": name,
                    "image/id": 0,
                    "objects": [],
                    "captions": [{"id": number, "text": text} for number, text in reversed(numbered)],
                },
            )

    splits = lambda self, manager: {split: examples(names) for split, names in names_of.items()}
    monkeypatch.setattr(CocoCaptions, "_split_generators", splits)
    tfds.builder("coco_captions", data_dir=str(manual.parent / "downloads")).download_and_prepare()
    problem = registry.problem("coco_caption")
    check_samples(problem, {"train": TRAIN + VAL[4:6], "dev": VAL[:2], "test": VAL[2:4]})
    assert {"coco_captions"} == {Path(path).parents[2].name for path in problem.source_files()}


@pytest.mark.slow
def test_two_workers_write_what_one_writes(problem, tmp_path):
    digests = []
    for workers in (1, 2):
        (result,) = generate(
            [problem], tmp_path / str(workers), workers=workers, vocabulary_size=400, log=lambda line: None
        )
        digests.append([split["files"] for split in result.manifest["splits"].values()])
        assert result.manifest["metrics"] == ["cider", "bleu"]
    assert digests[0] == digests[1]


def test_one_caption_a_picture_where_asked_for(problem):
    problem.every_caption = False
    targets = [sample["targets"] for sample in problem.samples("train")]
    assert len(targets) == sum(name in TRAIN or part_of(name, 8) > 1 for name in TRAIN + VAL)
    assert all(target.startswith("A grey picture,") for target in targets)


def test_a_damaged_picture_is_a_bad_record_that_names_archive_and_member(problem, manual):
    path = manual / "coco_caption" / "train2014.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xd8") + 300] ^= 0xFF  # in the first picture
    path.write_bytes(content)
    first, *_ = problem.samples("train")
    with pytest.raises(ValueError, match=rf"{path}: train2014/{TRAIN[0]}: can't be read \(Bad CRC-32"):
        problem.prepare(first)


def test_a_caption_without_words_is_a_bad_record(problem, manual):
    broken = annotations("train2014", TRAIN)
    broken["annotations"][-1]["caption"] = " \n"
    write_annotations(manual, json.dumps(broken))
    (sample,) = [s for s in problem.samples("train") if not s["targets"]]
    with pytest.raises(ValueError, match="the text is empty"):
        problem.targets.check(problem.prepare(sample)["targets"])


def write_annotations(manual, train):
    folder = manual / "coco_caption" / "annotations"
    folder.mkdir()
    (folder / "captions_train2014.json").write_text(train)
    (folder / "captions_val2014.json").write_text(json.dumps(annotations("val2014", VAL)))


BROKEN = [
    (lambda a: a["images"].append({"file_name": "more.jpg", "id": 0}), "more.jpg has no captions", 0),
    (lambda a: a["images"].append("more.jpg"), "images, entry 4: a whole number as id and a file_name expected", 0),
    (lambda a: a["annotations"][1].update(caption=None), "annotations, entry 2: .* a caption expected, .* a string", 1),
    (lambda a: a["annotations"][0].update(image_id=4), "annotations, entry 1: image_id 4 is none of its images", 1),
    (lambda a: a["annotations"].append([]), "annotations, entry 16: image_id None is none of its images", 0),
]


@pytest.mark.parametrize("change, reason, lost", BROKEN)
def test_a_malformed_entry_is_a_bad_record_and_the_others_stay(change, reason, lost, problem, manual, tmp_path):
    whole = len(list(problem.samples("train")))
    broken = annotations("train2014", TRAIN)
    change(broken)
    write_annotations(manual, json.dumps(broken))
    problem = registry.problem("coco_caption")  # which now finds the list that is not in a zip
    samples = list(problem.samples("train"))
    (bad,) = [sample for sample in samples if "bad" in sample]
    assert re.search(rf"annotations/captions_train2014\.json: {reason}", bad["bad"])
    assert len(samples) - 1 == whole - lost
    assert not any("bad" in sample for split in ("dev", "test") for sample in problem.samples(split))
    with pytest.raises(UserError, match=r"bad record .*captions_train2014\.json: .*--max_bad_records"):
        generate([problem], tmp_path / "data", workers=1, vocabulary_size=400, log=lambda line: None)


@pytest.mark.parametrize("text", ["[]", '{"images": []}', '{"images": [], "annotations": {}}'])
def test_annotations_without_their_lists_are_refused(text, problem, manual):
    write_annotations(manual, text)
    with pytest.raises(UserError, match=r"captions_train2014\.json: not captions in COCO's form: it must have the li"):
        list(problem.samples("train"))


def test_what_is_missing_is_named(problem, manual):
    folder = manual / "coco_caption"
    with zipfile.ZipFile(folder / "train2014.zip", "w") as file:
        file.writestr(f"train2014/{TRAIN[0]}", b"")
    bad = [sample for sample in problem.samples("train") if "bad" in sample]
    assert [sample["key"] for sample in bad] == TRAIN[1:]
    assert f"train2014.zip: no {TRAIN[1]}, which the captions of train2014 are of" in bad[0]["bad"]
    (folder / "train2014.zip").write_bytes(b"half an archive")
    with pytest.raises(UserError, match=r"train2014\.zip: can't be read as a zip"):
        list(problem.samples("train"))
    (folder / "annotations_trainval2014.zip").unlink()
    with pytest.raises(MissingCorpus, match=r"no .*/annotations_trainval2014\.zip: COCO captions.*cocodataset\.org"):
        registry.problem("coco_caption").source_files()
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(MissingCorpus, match="no .*/coco_caption: .*without registration"):
        registry.problem("coco_caption").source_files()
