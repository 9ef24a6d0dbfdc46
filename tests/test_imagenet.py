"""ImageNet and CIFAR-10 in the form of their owners: read in place, every kind of JPEG, what is broken is named."""

import gzip
import hashlib
import io
import os
import shutil

import numpy as np
import pytest
from official_pictures import colour_of, jpeg, tar, use_folders
from own_files import prepared

from t2t_multimodel import registry
from t2t_multimodel.data_gen import download
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.readers import corpora, tfds_data
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems import cifar10 as cifar10_module
from t2t_multimodel.problems.imagenet import Imagenet

SYNSETS = ("n01440764", "n02105855", "n15075141")  # tench, Shetland sheepdog, toilet tissue
COLOURS = {"n01440764": (200, 30, 30), "n02105855": (30, 200, 30), "n15075141": (30, 30, 200)}
# The first validation pictures, as in the devkit: n01751748 (a sea snake), n09193705 (an alp), n02105855.
VALIDATION = ("n01751748", "n09193705", "n02105855")


def training_pictures(synset, count=6):
    return {f"{synset}_{10 + i}.JPEG": jpeg(COLOURS[synset]) for i in range(count)}


def validation_pictures():
    return {f"ILSVRC2012_val_{i:08d}.JPEG": jpeg((60 * i, 60 * i, 60 * i)) for i in (3, 1, 2)}  # the tar is unsorted


def write_tars(folder, train=None):
    train = train or {synset: training_pictures(synset) for synset in SYNSETS}
    tar(folder / "ILSVRC2012_img_train.tar", {f"{synset}.tar": tar(None, files) for synset, files in train.items()})
    tar(folder / "ILSVRC2012_img_val.tar", validation_pictures())


def write_tree(folder, flat_validation=False):
    for synset in SYNSETS:
        write(folder / "train" / synset, training_pictures(synset))
    for (name, content), synset in zip(sorted(validation_pictures().items()), VALIDATION):
        write(folder / "val" / ("" if flat_validation else synset), {name: content})


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


class Small(Imagenet):
    """ImageNet with a dev split that a few pictures reach."""

    name = "small_imagenet"
    dev_part = 3


@pytest.fixture
def manual(tmp_path, monkeypatch):
    return use_folders(monkeypatch, tmp_path)


def in_form(form, manual):
    """A problem over the same pictures in one of the forms in which ImageNet lies on disks."""
    if form == "tars":
        write_tars(manual / "imagenet")
    elif form.startswith("tree"):
        write_tree(manual / "imagenet", flat_validation=form == "tree, validation pictures in one folder")
    else:
        import tensorflow_datasets as tfds

        write_tars(manual)
        config = tfds.download.DownloadConfig(manual_dir=str(manual))
        builder = tfds.builder("imagenet2012", data_dir=str(manual.parent / "downloads"))
        builder.download_and_prepare(download_config=config)
    return Small()


@pytest.mark.parametrize("form", ["tars", "tree", "tree, validation pictures in one folder", "TFDS"])
def test_every_form_gives_the_same_examples(form, manual):
    problem = in_form(form, manual)
    assert len(problem.targets.classes) == 1000 and problem.metric_names == ("accuracy_top1", "accuracy_top5")
    samples = {split: prepared(problem, split) for split in problem.splits}
    assert {s["key"]: s["targets"] for s in samples["test"]} == {
        f"ILSVRC2012_val_{i:08d}.JPEG": synset for i, synset in enumerate(VALIDATION, 1)
    }
    for sample in samples["test"]:
        grey = 60 * int(sample["key"][-7:-5])
        np.testing.assert_allclose(colour_of(sample["inputs"]), grey, atol=3)
    train, dev = ({s["key"]: s["targets"] for s in samples[split]} for split in ("train", "dev"))
    assert dev and not train.keys() & dev.keys()
    assert train | dev == {name: synset for synset in SYNSETS for name in training_pictures(synset)}
    for key in train | dev:
        digest = hashlib.sha256(key.encode()).digest()
        assert (key in dev) == (int.from_bytes(digest[:8], "big") % 3 == 0)
    for sample in samples["train"] + samples["dev"]:
        assert sample["inputs"].shape == (64, 64, 3)
        np.testing.assert_allclose(colour_of(sample["inputs"]), COLOURS[sample["targets"]], atol=3)


def test_two_workers_write_what_one_writes_and_bad_pictures_are_counted(manual, tmp_path):
    train = {synset: training_pictures(synset, 40) for synset in SYNSETS}
    whole = train["n02105855"]["n02105855_12.JPEG"]
    train["n02105855"]["n02105855_12.JPEG"] = whole[: len(whole) // 2]
    write_tars(manual / "imagenet", train)
    digests = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        (result,) = generate([Small()], folder, workers=workers, max_bad_records=1, log=lambda line: None)
        digests.append([split["files"] for split in result.manifest["splits"].values()])
        assert sum(split["examples"] for split in result.manifest["splits"].values()) == 3 * 40 - 1 + 3
        (dropped,) = result.manifest["dropped"]
        assert "ILSVRC2012_img_train.tar: n02105855_12.JPEG: can't be decoded as a picture" in str(dropped)
    assert digests[0] == digests[1]
    assert result.manifest["inputs"]["fit"] == "crop"  # for whoever decodes pictures with the trained model
    bytes_each = sum(split["bytes"] for split in result.manifest["splits"].values()) / 122
    assert 64 * 64 * 3 < bytes_each < 64 * 64 * 3 + 150  # what the data sheet says of size


def test_the_odd_files_of_imagenet_are_read(manual):
    """22 of its JPEGs have four inks (CMYK), one is a PNG by another name; some are grey."""
    odd = {
        "n02105855_2933.JPEG": jpeg((120, 40, 200), form="PNG"),
        "n02105855_1.JPEG": jpeg((120, 40, 200), mode="CMYK"),
        "n02105855_2.JPEG": jpeg((120, 40, 200), mode="L"),
    }
    write_tars(manual / "imagenet", {"n02105855": odd})
    problem = Small()
    found = {s["key"]: s["inputs"] for split in ("train", "dev") for s in prepared(problem, split)}
    for name, colour in zip(odd, [(120, 40, 200), (120, 40, 200), (82, 82, 82)]):
        np.testing.assert_allclose(colour_of(found[name]), colour, atol=4, err_msg=name)


def cut(path, size):
    os.truncate(path, size)


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda path: path.write_bytes(gzip.compress(path.read_bytes())), "uncompressed tar .*uncompress it"),
        (lambda path: path.write_bytes(b""), "can't be read as an uncompressed tar"),
        (lambda path: cut(path, 5000), r"cut off at byte 5,000 within n01440764\.tar"),
        (lambda path: tar(path, {"n01440764.tar": tar(None, {"a_1.JPEG": b"x"})[:1024]}), "the mark of its end"),
        (lambda path: tar(path, {"n99999999.tar": b""}), r"'n99999999' is not one of the 1,000 synsets"),
    ],
)
def test_a_damaged_training_archive_is_named(damage, reason, manual):
    write_tars(manual / "imagenet")
    path = manual / "imagenet" / "ILSVRC2012_img_train.tar"
    damage(path)
    with pytest.raises(UserError, match=reason) as error:
        list(Small().samples("train"))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_validation_picture(manual):
    write_tars(manual / "imagenet")
    tar(manual / "imagenet" / "ILSVRC2012_img_val.tar", {"ILSVRC2012_val_00050001.JPEG": b""})
    with pytest.raises(UserError, match="00050001.JPEG: not a validation picture; .* to 00050000.JPEG"):
        list(Small().samples("test"))


def test_a_missing_corpus_says_what_to_do(manual):
    with pytest.raises(MissingCorpus) as error:
        Small().source_files()
    for said in ("image-net.org", "ILSVRC2012_img_train.tar", "--manual_dir", "cifar10 is a free stand-in"):
        assert said in str(error.value)
    write_tars(manual / "imagenet")
    (manual / "imagenet" / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(MissingCorpus, match="no .*/ILSVRC2012_img_val.tar"):
        Small().source_files()


def test_its_old_name_still_finds_it():
    assert registry.problem("image_imagenet").name == "imagenet"


# ---- CIFAR-10


def records(count, seed):
    """`count` records of a byte and three planes; the class is the number of the record modulo ten."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
    planes = pixels.transpose(0, 3, 1, 2).reshape(count, -1)
    labels = (np.arange(count) % 10).astype(np.uint8)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes(), pixels


@pytest.fixture
def cifar10(manual, monkeypatch):
    """The problem over five training batches of 12 records and a test batch of 3, dev being the last 5; its pixels."""
    problem = registry.problem("cifar10")
    problem.dev_examples = 5
    files, pixels = {"batches.meta.txt": b"airplane\n"}, {}
    for seed, name in enumerate(
        ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    ):
        files[f"{name}.bin"], pixels[name] = records(3 if name == "test_batch" else 12, seed)
    return problem, files, pixels


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10_packed_and_unpacked(packed, cifar10, manual):
    problem, files, pixels = cifar10
    folder = manual / "cifar10"
    write(folder / "cifar-10-batches-bin", files)
    if packed:
        whole = tar(None, {f"cifar-10-batches-bin/{name}": content for name, content in files.items()})
        write(folder, {"cifar-10-binary.tar.gz": gzip.compress(whole)})
        for file in (folder / "cifar-10-batches-bin").iterdir():
            file.unlink()
        (folder / "cifar-10-batches-bin").rmdir()
    samples = {split: prepared(problem, split) for split in problem.splits}
    assert {split: len(found) for split, found in samples.items()} == {"train": 55, "dev": 5, "test": 3}
    assert [s["key"] for s in samples["dev"]] == [f"data_batch_5/{i}" for i in range(7, 12)]
    assert not {s["key"] for s in samples["train"]} & {s["key"] for s in samples["dev"]}
    for sample in sum(samples.values(), []):
        batch, _, number = sample["key"].partition("/")
        assert sample["targets"] == problem.targets.classes[int(number) % 10]
        np.testing.assert_array_equal(sample["inputs"], pixels[batch][int(number)])


def test_cifar10_is_downloaded_once_and_held_to_its_digest(cifar10, manual, monkeypatch):
    problem, files, _ = cifar10
    content = gzip.compress(tar(None, {f"cifar-10-batches-bin/{name}": files[name] for name in files}))
    asked = []

    def serve(url):
        asked.append(url)
        response = io.BytesIO(content)
        response.url, response.headers = url, {"Content-Length": str(len(content))}
        return response

    monkeypatch.setattr(download, "_open", serve)
    with pytest.raises(UserError, match=f"what came has the sha256 .*, not {cifar10_module.SHA256}: another file"):
        problem.source_files()
    monkeypatch.setattr(cifar10_module, "SHA256", hashlib.sha256(content).hexdigest())
    corpora.set_folders(manual.parent, may_write=False)
    with pytest.raises(MissingCorpus, match="CIFAR-10.* has to be obtained from .*without --dry_run it is, to"):
        problem.source_files()
    corpora.set_folders(manual.parent)
    (path,) = problem.source_files()
    assert path.startswith(str(manual.parent / "downloads")) and len(prepared(problem, "test")) == 3
    assert asked == [cifar10_module.URL] * 2 and asked[0].startswith("https://")
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="its sha256 is .*: it was damaged or replaced; remove it"):
        problem.source_files()


def test_the_digest_of_cifar10_is_the_one_that_tfds_records():
    recorded = (tfds_data.package_folder() / "url_checksums" / "cifar10.txt").read_text()
    assert recorded.split()[0] == cifar10_module.URL and recorded.split()[2] == cifar10_module.SHA256


def test_broken_batches_of_cifar10_are_named(cifar10, manual):
    problem, files, _ = cifar10
    folder = manual / "cifar10" / "cifar-10-batches-bin"
    write(folder, files | {"test_batch.bin": b"\x0b" + files["test_batch.bin"][1:]})
    first, *_ = problem.samples("test")
    with pytest.raises(ValueError, match="record test_batch/0 has class 11, 0 to 9 expected"):
        problem.prepare(first)
    write(folder, {"test_batch.bin": files["test_batch.bin"][:-1]})
    with pytest.raises(UserError, match=r"test_batch\.bin: 9,218 bytes, not a number of records of 3,073 bytes"):
        list(problem.samples("test"))
    (folder / "test_batch.bin").unlink()
    with pytest.raises(MissingCorpus, match=r"no .*/cifar10/.*/test_batch\.bin: CIFAR-10"):
        problem.source_files()
    shutil.rmtree(folder)
    archive = gzip.compress(tar(None, {"cifar-10-batches-bin/data_batch_1.bin": files["data_batch_1.bin"]}))
    write(manual / "cifar10", {"cifar-10-binary.tar.gz": archive})
    with pytest.raises(UserError, match=r"tar\.gz: test_batch\.bin in cifar-10-batches-bin expected and not found"):
        list(problem.samples("test"))
    write(manual / "cifar10", {"cifar-10-binary.tar.gz": archive[: len(archive) // 2]})
    with pytest.raises(UserError, match=r"tar\.gz: can't be read \(.*\); get it again"):
        list(problem.samples("train"))
