"""Any TFDS data set as a problem in one line: its features, its splits, and the same examples as TFDS itself gives."""

import io
import pickle

import numpy as np
import pytest
import wmt_files
from PIL import Image as PillowImage

from t2t_multimodel import registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.data_gen.readers import corpora, tfds_data
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image, Label, Text
from t2t_multimodel.problems import TfdsProblem


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_folders", dict(corpora._folders))
    monkeypatch.setenv("T2T_USR_DIR", "")
    corpora.set_folders(tmp_path / "data", tmp_path / "manual", tmp_path / "downloads")
    return tmp_path


def pixels(number):
    return np.random.default_rng(number).integers(0, 256, (9, 7, 3), np.uint8)


@pytest.fixture
def animals(folders):
    """A prepared data set with a feature of every kind; train has 45 examples and test 5, there is no validation."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "picture": tfds.features.Image(shape=(9, 7, 3), encoding_format="png"),
            "photo": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "kind": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
            "about": {"name": tfds.features.Text(), "weight": tfds.features.Scalar(np.float32)},
            "voice": tfds.features.Audio(sample_rate=8000),
        }
    )

    def example(number):
        return {
            "picture": pixels(number),
            "photo": np.full((20 + number, 30, 3), number, np.uint8),
            "kind": number % 3,
            "about": {"name": f"Nr. {number}: größe", "weight": 1.0},
            "voice": np.arange(-number, 800, dtype=np.int64) * 10,
        }

    rows = {"train": [example(i) for i in range(45)], "test": [example(i) for i in range(100, 105)]}
    wmt_files.write_tfds(folders / "downloads" / "animals" / "1.0.0", "animals", features, rows)
    return rows


def prepared(problem, split):
    samples = [problem.prepare(sample) for sample in problem.samples(split)]
    for sample in samples:
        problem.inputs.check(sample["inputs"])
        problem.targets.check(sample["targets"])
    return samples


def test_pictures_to_classes(animals):
    problem = TfdsProblem("animals", inputs="picture", targets="kind")
    assert (problem.name, problem.inputs, problem.targets) == ("animals", Image(9, 7, 3), Label(("cat", "dog", "owl")))
    assert problem.splits == ("train", "dev", "test") and problem.metric_names[0] == "accuracy_top1"
    raw = next(iter(problem.samples("test")))
    assert PillowImage.open(io.BytesIO(raw["inputs"])).size == (7, 9)  # passed on as it lies, decoded by the workers
    for sample, expected in zip(prepared(problem, "test"), animals["test"], strict=True):
        assert (sample["inputs"] == expected["picture"]).all()
        assert sample["targets"] == ("cat", "dog", "owl")[expected["kind"]]


def test_dev_is_a_fixed_part_of_train_where_there_is_none(animals):
    problem = TfdsProblem("animals", inputs="about/name", targets="kind")
    train, dev = prepared(problem, "train"), prepared(problem, "dev")
    assert [s["inputs"] for s in dev] == [animals["train"][i]["about"]["name"] for i in (0, 20, 40)]
    assert [s["inputs"] for s in train] == [e["about"]["name"] for i, e in enumerate(animals["train"]) if i % 20]
    keys = [sample["key"] for split in problem.splits for sample in problem.samples(split)]
    assert len(set(keys)) == 50 and keys == [s["key"] for split in problem.splits for s in problem.samples(split)]


def test_the_splits_may_be_said_in_tfds_words(animals):
    words = {"train": "train[:40]", "dev": "train[40:]"}
    problem = TfdsProblem("animals", inputs="about/name", targets="kind", tfds_splits=words)
    assert problem.splits == ("train", "dev")
    assert [s["inputs"] for s in prepared(problem, "dev")] == [e["about"]["name"] for e in animals["train"][40:]]
    assert len(prepared(problem, "train")) == 40
    other = TfdsProblem("animals", inputs="about/name", targets="kind", tfds_splits={"train": "training"})
    with pytest.raises(UserError, match=r"'train': 'training'; .*those of animals train, test"):
        other.splits  # noqa: B018


def test_pictures_of_any_size_and_sound_at_any_rate(animals):
    problem = TfdsProblem("animals", inputs="photo", targets="about/name")
    assert problem.inputs == Image(64, 64, 3) and problem.targets == Text()
    small = TfdsProblem("animals", inputs="photo", targets="kind", image=Image(8, 8, 1))
    assert [int(s["inputs"].mean().round()) for s in prepared(small, "test")] == [100, 101, 102, 103, 104]

    problem = TfdsProblem("animals", inputs="voice", targets="about/name")
    assert problem.inputs == Audio(8000)
    for sample, expected in zip(prepared(problem, "test"), animals["test"], strict=True):
        assert sample["inputs"].dtype == np.int16 and (sample["inputs"] == expected["voice"]).all()
    twice = prepared(TfdsProblem("animals", inputs="voice", targets="kind", audio=Audio(16000)), "test")
    assert [len(s["inputs"]) for s in twice] == [2 * len(e["voice"]) for e in animals["test"]]


def test_pictures_fit_as_the_feature_says(animals):
    """What is trained on is what `t2t_multimodel.load` makes of a file: cropped where the feature says so."""
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 255  # what a crop to a square keeps
    encoded = io.BytesIO()
    PillowImage.fromarray(wide).save(encoded, format="PNG")
    for fit, least in (("crop", 255), ("stretch", 0)):
        problem = TfdsProblem("animals", inputs="photo", targets="kind", image=Image(10, 10, 3, fit=fit))
        sample = problem.prepare({"inputs": encoded.getvalue(), "targets": problem.targets.classes[0], "key": "wide"})
        assert sample["inputs"].min() == least


def test_workers_need_not_find_the_data_set(animals, folders):
    problem = TfdsProblem("animals", inputs="picture", targets="kind", name="mine")
    samples = list(problem.samples("test"))
    content = pickle.dumps(problem)
    corpora.set_folders(folders / "elsewhere")
    there = pickle.loads(content)
    assert there.targets.classes == ("cat", "dog", "owl") and there.arguments() == problem.arguments()
    assert (there.prepare(samples[0])["inputs"] == animals["test"][0]["picture"]).all()


USER_CODE = '''
from t2t_multimodel.modalities import Image
from t2t_multimodel.problems import TfdsProblem
from t2t_multimodel.registry import register_problem

register_problem(TfdsProblem("animals", inputs="about/name", targets="about/name"))


@register_problem
class AnimalPictures(TfdsProblem):
    """Which animal is it."""

    dataset = "animals"
    inputs, targets = "photo", "kind"
    image = Image(16, 16, 3)
'''


@pytest.mark.slow
def test_both_forms_register_and_generate(animals, folders, user_folder, run_command):
    folder = user_folder({"animals_of_a_user.py": USER_CODE})
    load_user_code(folder)
    entry = registry.problems.entry("animals")
    assert entry.description == "TFDS data set animals: about/name to about/name."
    assert entry.source.endswith("animals_of_a_user.py:6")
    assert registry.problems.entry("animal_pictures").description == "Which animal is it."
    names = "animals,animals_rev,animal_pictures"
    flags = [f"--data_dir={folders / 'data'}", f"--download_dir={folders / 'downloads'}", f"--t2t_usr_dir={folder}"]
    status, out, error = run_command(datagen.main, f"--problem={names}", *flags, "--workers=2")
    assert status == 0, error
    for name in names.split(","):
        assert f"{name}: train 42, dev 3, test 5 examples" in out
    assert run_command(datagen.main, f"--problem={names}", *flags)[1].count("nothing to do") == 3


def test_a_second_problem_of_that_name_is_refused(user_folder):
    user_folder({})  # so that what is registered here is forgotten
    registry.register_problem(TfdsProblem("animals", inputs="a", targets="b"))
    with pytest.raises(UserError, match=r"'animals' is registered twice: in .*test_tfds_problem\.py:\d+ and in"):
        registry.register_problem(TfdsProblem("animals", inputs="c", targets="d"))


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: TfdsProblem("animals", inputs="pictur", targets="kind"), "unknown feature 'pictur'; .*'picture'"),
        (lambda: TfdsProblem("animals", inputs="about", targets="kind"), "feature 'about' of animals is FeaturesDict"),
        (lambda: TfdsProblem("animals", inputs="about/weight", targets="kind"), "'about/weight' of animals is Scalar"),
        (lambda: TfdsProblem("cifar1", inputs="image", targets="label"), "unknown TFDS data set 'cifar1'; .*'cifar10'"),
        (lambda: TfdsProblem("animals", inputs="picture"), "problem animals: targets is missing"),
        (lambda: TfdsProblem("animals", inputs="picture", targets="kind", size=3), "no setting 'size'; it has image"),
    ],
)
def test_mistakes_are_named(make, reason, animals):
    with pytest.raises(UserError, match=reason) as error:
        make().inputs  # noqa: B018
    assert "\n" not in str(error.value)


def test_a_damaged_picture_is_a_bad_record(animals):
    problem = TfdsProblem("animals", inputs="picture", targets="kind")
    sample = next(iter(problem.samples("test")))
    with pytest.raises(ValueError, match=r"animals-test\.tfrecord-00000-of-00002__0: can't be decoded as a picture"):
        problem.prepare({**sample, "inputs": sample["inputs"][:60]})


def test_a_folder_that_tfds_wrote_may_be_named(animals, folders):
    folder = folders / "downloads" / "animals" / "1.0.0"
    problem = TfdsProblem(str(folder), inputs="about/name", targets="kind", name="by_folder")
    assert len(prepared(problem, "test")) == 5 and len(problem.source_files()) == 4


def test_a_data_set_of_the_catalogue_that_is_not_there(folders, monkeypatch):
    problem = TfdsProblem("cifar10", inputs="image", targets="label")
    assert problem.inputs == Image(32, 32, 3)
    monkeypatch.setattr(tfds_data, "_answers", lambda *place: False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    for asked in (problem.source_files, lambda: problem.targets):  # the names of its classes come with the data
        with pytest.raises(MissingCorpus, match="data set cifar10 is not prepared there and can't be downl") as error:
            asked()
        assert "\n" not in str(error.value)
