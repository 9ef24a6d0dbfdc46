"""Promise: a hundred thousand classes cost a sample, a record and an answer no more than a few do."""

import numpy as np
import pytest

from t2t_multimodel.modalities import Label, LabelSet
from t2t_multimodel.modalities.label import MOST_RANKED
from t2t_multimodel.modalities.label_nets import LabelHead

NAMES = tuple(f"class {i}" for i in range(100_000))


class Counted(str):
    """A name that counts how often it is compared."""

    __hash__ = str.__hash__
    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("kind, sample", [(Label, lambda name: name), (LabelSet, lambda name: {name})])
def test_a_sample_is_not_compared_with_every_class(kind, sample):
    modality = kind(tuple(map(Counted, NAMES)))
    modality.check(sample(NAMES[-1]))
    Counted.compared = 0
    for name in NAMES[-50:]:
        modality.check(sample(name))
        modality.encode([sample(name)])
    assert Counted.compared < 1000
    with pytest.raises(ValueError, match="'no class' is not one of the 100000"):
        modality.check(sample("no class"))


@pytest.mark.parametrize("kind", [Label, LabelSet])
def test_what_is_as_long_as_the_names_is_made_once(kind):
    modality = kind(NAMES)
    assert modality.weights_name is modality.weights_name
    assert kind(NAMES).weights_name == modality.weights_name == kind(tuple(NAMES)).weights_name
    assert modality.stored()["values"].class_names is modality.stored()["values"].class_names


@pytest.mark.parametrize("value", [["a"], {"a"}, (["a"],), None, np.zeros(2)])
def test_what_is_no_name_is_no_class(value):
    with pytest.raises(ValueError, match="not one of the 2 classes"):
        Label(("a", "b")).check(value)


def test_a_set_is_stored_as_a_one_for_each_of_its_labels():
    modality = LabelSet(("a", "b", "c"))
    encoded = modality.encode([{"c", "a"}, [], ("b",)])
    assert [each["values"].tolist() for each in encoded] == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert all(each["values"].dtype == np.uint8 for each in encoded)


def test_an_answer_names_the_likeliest_classes():
    scores = np.random.default_rng(0).normal(size=(3, 2 * MOST_RANKED)).astype(np.float32)
    predicted = LabelHead.predict(None, scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :MOST_RANKED]
    np.testing.assert_array_equal(predicted["order"], order)
    names = Label(NAMES[: 2 * MOST_RANKED]).answers(predicted)
    assert [len(each) for each in names] == [MOST_RANKED] * 3 and names[0][0] == NAMES[order[0, 0]]
    assert LabelHead.predict(None, scores[:, :4])["order"].shape == (3, 4)
