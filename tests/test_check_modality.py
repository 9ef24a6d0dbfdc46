"""`check_modality` passes what ships, and names the ways of breaking the contract of a modality."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from keras import ops

from t2t_multimodel import registry
from t2t_multimodel.modalities import Audio, Image, Label, LabelSet, Modality, Numbers, Text
from t2t_multimodel.modalities.label_set_nets import LabelSetHead
from t2t_multimodel.modalities.numbers_nets import NumbersEncoder
from t2t_multimodel.testing import FaultyModality, check_modality
from t2t_multimodel.testing.modality import find_modality_faults

RANDOM = np.random.default_rng(0)
WORDS = "a small red circle is above the big blue square and the green ring inside it rests on two old stones".split()
SENTENCES = [" ".join(RANDOM.choice(WORDS, n)) for n in (3, 9, 5, 7, 12, 4, 30, 24)]
SOUNDS = [RANDOM.integers(-9000, 9000, n).astype(np.int16) for n in (400, 900, 650)]
SHIPPED = {
    "text": (Text("English"), SENTENCES, [""]),
    "characters": (Text("English", units="characters"), SENTENCES, [""]),
    "image": (Image(9, 12, 3), list(RANDOM.integers(0, 256, (3, 9, 12, 3)).astype(np.uint8)), []),
    "audio": (Audio(1000), SOUNDS, [np.zeros(0, np.int16)]),
    "waveform": (Audio(1000, "waveform"), SOUNDS, []),
    "label": (Label(tuple("abc")), ["a", "c", "b", "b"], ["d"]),
    "numbers": (
        Numbers(("price", "size"), (3.0, 0.0), (2.0, 1.0)),
        [np.float32([4, 1]), np.float32([np.nan, -2]), [2.5, np.nan]],
        [[1.0], [np.inf, 0.0], "12", ["x", "y"]],
    ),
    "label_set": (LabelSet(tuple("abc")), [{"a", "c"}, [], ("b",), {"a", "b", "c"}], ["a", {"d"}]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_modality_passes(name):
    modality, samples, junk = SHIPPED[name]
    check_modality(modality, samples, junk=junk)


def test_all_that_ship_are_tried():
    tried = {modality.modality_name for modality, _, _ in SHIPPED.values()}
    shipped = {e.name for e in registry.modalities.entries() if e.value.__module__.startswith("t2t_multimodel.")}
    assert tried == shipped - {"inputs", "no_input"}, "those two are made of others: test_several_inputs.py"


@pytest.mark.parametrize(
    "modality, line, right",
    [
        (Numbers(("a", "b", "c")), "1.5, -2 ?", [1.5, -2.0, np.nan]),
        (Numbers(), np.float32([3]), [3.0]),
    ],
)
def test_numbers_from_a_line(modality, line, right):
    np.testing.assert_array_equal(modality.from_line(line), np.float32(right))
    with pytest.raises(ValueError):
        modality.from_line("1 2 3 4")


def test_an_answer_is_one_line():
    assert Text("English").to_line("a\r\nb\n") == "a  b "


def test_declarations_of_numbers_and_label_sets():
    assert "a mean for each of 2 names" in Numbers(("a", "b"), (1.0,)).declaration_fault()
    assert "positive" in Numbers(scale=(0.0,)).declaration_fault()
    assert "must have labels" in LabelSet().declaration_fault()
    assert Numbers(("a",), (1.0,), (2.0,)).weights_name != Numbers(("a",), (1.0,), (3.0,)).weights_name


# ---- Broken ones: each breaks one promise


@dataclasses.dataclass(frozen=True)
class Broken(LabelSet):
    modality_name: ClassVar[str] = "broken"


class AcceptsAll(Broken):
    def check(self, value):
        pass


class ChangesOnTheWay(Broken):
    def encode(self, samples, vocabulary=None):
        self.made.append(0)
        return [{"values": np.full(len(self.labels), len(self.made) % 2, np.uint8)} for _ in samples]

    made = []


class PadsOnes(Broken):
    def pad(self, columns, rows, length=0):
        return {"values": np.maximum(super().pad(columns, rows, length)["values"], 1)}


class WrongTensors(Broken):
    def tensors(self):
        return {"values": ((len(self.labels),), "float32")}


class IdleWeight(Broken):
    def make_head(self, hparams, name):
        class Head(LabelSetHead):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.idle = self.add_weight(shape=(2,), initializer="ones", name="idle")

        return Head(self, hparams, name=name)


class MixesRows(Broken):
    def make_head(self, hparams, name):
        class Head(LabelSetHead):
            def call(self, encoded, padding_mask, grid=None):
                return ops.flip(super().call(encoded, padding_mask, grid), axis=0)

        return Head(self, hparams, name=name)


class CountsAll(Broken):
    def make_head(self, hparams, name):
        class Head(LabelSetHead):
            def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
                return super().loss(outputs, targets, ops.ones_like(example_weights), label_smoothing)

        return Head(self, hparams, name=name)


class NoMask(Broken):
    def make_encoder(self, hparams, name):
        class Encoder(NumbersEncoder):
            def call(self, arrays, training=False):
                x, mask, grid = super().call({"values": ops.cast(arrays["values"], "float32")}, training)
                return x, 0.5 * mask, grid

        return Encoder(Numbers(self.labels), hparams, name=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cls, finding",
    [
        (AcceptsAll, "check accepts None, which is no sample"),
        (ChangesOnTheWay, "comes back from the store changed"),
        (PadsOnes, "pad: spare rows of values must be zeros"),
        (WrongTensors, r"pad makes values uint8 \(6, 3\), tensors\(\) says float32"),
        (IdleWeight, "no gradient reaches .*idle"),
        (MixesRows, "its head: rows are not independent"),
        (CountsAll, "a row of example weight 0 changes the loss"),
        (NoMask, "padding_mask must be 0 or 1"),
    ],
)
def test_a_broken_one_is_found(cls, finding, monkeypatch):
    monkeypatch.setattr(registry.modalities, "_entries", dict(registry.modalities._entries))
    registry.register_modality(cls)
    modality = cls(tuple("abc"))
    with pytest.raises(FaultyModality, match=finding):
        check_modality(modality, SHIPPED["label_set"][1])


def test_what_is_not_declared_is_found():
    class Unfinished(Modality):
        """Has nothing."""

    found = find_modality_faults(Unfinished(), [1])
    assert any("is not registered" in line for line in found)
    assert any("define make_encoder or make_head" in line for line in found)
    assert "no modality" in find_modality_faults(3, [])[0]
