"""For tests of your own modalities: `check_modality(MyModality(…), samples)` tries the contract of `Modality`.

    from t2t_multimodel.testing import check_modality

    def test_my_modality():
        check_modality(Temperature(), [np.float32([3, 4.5]), np.float32([np.nan, 2, 1])])

It checks samples, stores them in a temporary folder and reads them back, pads batches, makes the nets and a small model
around them, and computes loss, gradients and answers as training and decoding do, on the backend that Keras runs on.
"""

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from types import NoneType

import numpy as np

from t2t_multimodel import registry, startup
from t2t_multimodel.arguments import in_short
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.modalities import Modality, Numbers
from t2t_multimodel.modalities.base import fault_of
from t2t_multimodel.problem import Problem
from t2t_multimodel.testing.content import same_arrays
from t2t_multimodel.testing.findings import few_of, said

_JUNK = (None, object(), np.zeros((1, 2, 1, 2, 1, 2), complex))  # what is a sample of nothing
_PARTNER = Numbers(names=("a", "b"))  # of the other side


class FaultyModality(AssertionError):
    """What `check_modality` found; `findings` is the list, one line each."""

    def __init__(self, name, findings):
        self.findings = list(findings)
        super().__init__(f"modality {name}: {len(self.findings)} faults\n" + "\n".join(f"- {f}" for f in self.findings))


def check_modality(modality, samples, hparams=None, junk=()):
    """Raises `FaultyModality` with everything that is wrong with a modality; returns None where nothing is.

    Args:
      modality: a `Modality`.
      samples: prepared samples of it, of different lengths where lengths vary. What some of its weights are for must be
        there, e.g. missing values: every weight must get a gradient.
      hparams: the `HParams` of the model that is made; None: a very small one.
      junk: values that `check` must refuse, besides what is a sample of nothing.

    Raises:
      UserError: an argument is of the wrong kind.
    """
    findings = find_modality_faults(modality, samples, hparams, junk)
    if findings:
        raise FaultyModality(getattr(modality, "modality_name", "") or type(modality).__name__, findings)


def find_modality_faults(modality, samples, hparams=None, junk=()):
    """As `check_modality`, but returns the findings, a list of lines."""
    samples, junk = _listed("samples", samples), _listed("junk", junk)
    if not isinstance(hparams, (HParams, NoneType)):
        raise UserError(f"hparams must be an HParams or None, not {in_short(hparams)}")
    findings = list(_declared(modality))
    if findings:  # what follows would only say it again, less clearly
        return findings
    findings += _samples_checked(modality, samples, junk)
    findings += _as_json(modality)
    if findings:
        return findings
    startup.import_tensorflow()
    from t2t_multimodel.testing import modality_model

    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for side in ("inputs", "targets"):
            if not (modality.can_be_input if side == "inputs" else modality.can_be_target):
                continue
            try:
                stores[side] = _store(modality, samples, side, folder)
            except Exception as error:
                return [*findings, f"its samples can't be stored: {said(error)}"]
        for check in (_stored, _padded):
            findings += _caught(check, modality, samples, stores)
        if not findings:
            hparams = hparams or _small()
            findings += _caught(modality_model.faults, modality, samples, stores, hparams)
    return findings


def _listed(name, values):
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise UserError(f"{name} must be a list, not {in_short(values)}")
    return list(values)


def _caught(check, modality, *arguments):
    """What a check finds; an exception of the modality's code is a finding too."""
    try:
        yield from check(modality, *arguments)
    except Exception as error:
        yield f"{check.__name__.strip('_')}: {said(error)}"


def _small():
    return dataclasses.replace(
        registry.hparams_sets.get("multimodel_tiny")(),
        hidden_size=16,
        encoder_blocks=1,
        attention_blocks=0,
        mixer_blocks=0,
        decoder_blocks=1,
        num_heads=2,
        use_experts=False,
        image_stem_filters=(4, 4),
        image_residual_filters=(0,),
        audio_mel_bins=8,
    )


# ---- What it says of itself


def _declared(modality):
    if not isinstance(modality, Modality):
        yield f"{modality!r:.80} is no modality: derive its class from Modality, and give an instance"
        return
    name = modality.modality_name
    if name not in registry.modalities or registry.modalities.get(name) is not type(modality):
        yield f"{type(modality).__name__} is not registered: put @register_modality before the class"
    if not dataclasses.is_dataclass(modality) or not type(modality).__dataclass_params__.frozen:
        yield f"{type(modality).__name__} is no frozen dataclass: put @dataclasses.dataclass(frozen=True) before it"
    elif fault := fault_of(modality):
        yield f"it {fault}"
    if not (modality.can_be_input or modality.can_be_target):
        yield "it can be neither an input nor a target: define make_encoder or make_head"
    if modality.can_be_target and not modality.default_metrics:
        yield "it can be a target, but has no default_metrics"
    try:
        specs = modality.stored()
    except Exception as error:
        yield f"stored() failed: {said(error)}"
        return
    if modality.variable_length != any(spec.varies for spec in specs.values()):
        yield "variable_length must be True where an array of stored() has a length that varies (None), else False"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", modality.weights_name):
        yield f"its weights_name {modality.weights_name!r} must be letters, digits, '_', '.' and '-'"


def _samples_checked(modality, samples, junk):
    if not len(samples):
        yield "no sample was given: give some, of different lengths where lengths vary"
    for number, sample in enumerate(samples):
        try:
            modality.check(sample)
        except Exception as error:
            yield f"check refuses sample {number}: {said(error)}"
    for value in (*_JUNK, *junk):
        words = " ".join(repr(value).split())
        try:
            modality.check(value)
            yield f"check accepts {words:.60}, which is no sample"
        except ValueError:
            pass
        except Exception as error:
            yield f"check of {words:.60} must raise ValueError with the reason, not {said(error)}"


def _as_json(modality):
    try:
        values = json.loads(json.dumps(modality.to_json()))
        again = Modality.from_json(values)
    except Exception as error:
        yield f"to_json and back failed, which a store's manifest needs: {said(error)}"
        return
    if again != modality or again.weights_name != modality.weights_name:
        yield f"it comes back from to_json as {again!r:.120}"


# ---- The way to the store and back


def _store(modality, samples, side, folder):
    """An `ExampleStore` with the samples on one side, and numbers on the other."""
    from t2t_multimodel.data_gen.generate import generate
    from t2t_multimodel.input.store import ExampleStore

    other = "targets" if side == "inputs" else "inputs"

    class OneSide(Problem):
        """Samples of a modality, and numbers."""

        name = f"checked_as_{side}"
        splits = ("train",)
        vocabulary_size = 400
        metrics = (modality if side == "targets" else _PARTNER).default_metrics

        def samples(self, split):
            for number, sample in enumerate(samples):
                yield {side: sample, other: [number + 0.5, np.nan if number % 3 else 1.0], "key": str(number)}

    problem = OneSide()
    setattr(problem, side, modality)
    setattr(problem, other, _PARTNER)
    generate([problem], folder, workers=1, log=lambda line: None, progress=False)
    return ExampleStore(folder, problem.name)


def _stored(modality, samples, stores):
    """Samples must come back from the store as they were encoded, of the length that was said."""
    for side, store in stores.items():
        bound, vocabulary = getattr(store.spec, side), store.vocabulary()
        if bound.weights_name != getattr(store.spec, side).bind(vocabulary).weights_name:
            yield "bind of a bound modality changes its weights_name"
        reader, changed = store.split("train"), []
        for example in reader.examples(np.arange(len(reader))):
            sample = samples[int(example["key"])]
            encoded = bound.encode([sample], vocabulary)[0]
            if set(encoded) != set(bound.stored()):
                yield f"encode gives {sorted(encoded)}, stored() says {sorted(bound.stored())}"
                return
            if not same_arrays(encoded, example[side]):
                changed.append(f"sample {example['key']} comes back from the store changed")
            arrays = example[side] if isinstance(example[side], dict) else {"values": example[side]}
            if fault := bound.stored_fault(arrays):
                changed.append(f"stored_fault of sample {example['key']}: {fault}")
            for words in (bound.in_one_line(example[side], example["key"], vocabulary),):
                if not isinstance(words, str) or "\n" in words:
                    changed.append(f"in_one_line must be one line of text, not {words!r:.60}")
            bound.lines(example[side], vocabulary)
        yield from few_of(changed, f"as {side}: {{}}", "such samples")


def _padded(modality, samples, stores):
    """Batches must be what `tensors` says, from the store and from samples alike."""
    for side, store in stores.items():
        bound, reader = getattr(store.spec, side), store.split("train")
        order = [int(example["key"]) for example in reader.examples(np.arange(len(reader)))]
        read = reader.columns(np.arange(len(reader)))[side == "targets"]
        given, lengths = bound.columns([samples[i] for i in order], store.vocabulary())
        if (reader.target_length if side == "targets" else reader.input_length).tolist() != list(lengths):
            yield "columns says other lengths than stored_length"
        rows = len(order) + 2
        batch, again = bound.pad(read, rows), bound.pad(given, rows)
        tensors = bound.tensors()
        if set(batch) != set(tensors):
            yield f"pad makes {sorted(batch)}, tensors() says {sorted(tensors)}"
            return
        for name, (shape, dtype) in tensors.items():
            array = batch[name]
            fits = len(array.shape) == len(shape) + 1 and all(
                wanted in (None, got) for wanted, got in zip(shape, array.shape[1:])
            )
            if not fits or array.dtype != dtype or len(array) != rows:
                yield f"pad makes {name} {array.dtype} {array.shape}, tensors() says {dtype} [{rows}, {shape}]"
            elif np.any(array[len(order) :]):
                yield f"pad: spare rows of {name} must be zeros"
            elif not np.array_equal(array, again[name], equal_nan=array.dtype.kind == "f"):
                yield f"pad makes another {name} of samples than of stored examples"
        if bound.variable_length:
            length = max(lengths) + bound.end_of_sequence + 5
            longer = bound.pad(read, rows, length)
            if not any(array.ndim > 1 and array.shape[1] >= length for array in longer.values()):
                yield f"pad to length {length} makes no array of that length"
