"""From values of different lengths to the arrays of a batch (docs/architecture.md, "A batch")."""

from typing import NamedTuple

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.features import EOS_ID


class Ragged(NamedTuple):
    """Rows of different lengths, one after the other: `values` flat, `lengths` [rows]."""

    values: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, arrays):
        arrays = [np.asarray(a) for a in arrays]
        flat = [a for a in arrays if len(a)]
        return cls(np.concatenate(flat) if flat else np.zeros(0, int), np.array([len(a) for a in arrays], int))

    def part(self, rows):
        """The rows of a slice."""
        ends = np.cumsum(self.lengths)[rows]
        lengths = self.lengths[rows]
        return Ragged(self.values[ends[0] - lengths[0] : ends[-1]], lengths)


def make_batch(spec, inputs, targets=None, *, rows=0, input_length=0, target_length=0):
    """The arrays of a batch: `inputs` (`inputs_length` for sound), `targets` if given, `command`, `example_weights`.

    Args:
      spec: the `ProblemSpec`.
      inputs: text: ids without end-of-sequence, a list of arrays or a `Ragged`; picture: uint8 arrays
        [height, width, channels], a list or stacked; sound: int16 arrays, a list or a `Ragged`.
      targets: text like that, or class ids.
      rows: rows of the batch; what the examples don't fill is zeros with example weight 0. 0: no such rows.
      input_length: length to pad to, with the end-of-sequence for text, in samples for sound. 0: the longest.
      target_length: the same for targets.

    Returns:
      {name: array}, B rows: `inputs` int32 [B, S] | uint8 [B, H, W, C] | float32 [B, N] with `inputs_length`
      int32 [B]; `targets` int32 [B, T] | int32 [B]; `command` int32 [B]; `example_weights` float32 [B].
    """
    count = len(inputs.lengths) if isinstance(inputs, Ragged) else len(inputs)
    rows = max(rows, count)
    batch = {}
    if spec.inputs.modality == "text":
        batch["inputs"] = pad_ids(inputs, rows, input_length)
    elif spec.inputs.modality == "image":
        batch["inputs"] = pad_pictures(inputs, rows, spec.inputs)
    elif spec.inputs.modality.startswith("audio"):
        batch["inputs"], batch["inputs_length"] = pad_sound(inputs, rows, input_length)
    else:
        raise UserError(f"{spec.name}: a model can read text, pictures and sound, not {spec.inputs.modality}")
    if targets is not None and spec.targets.modality == "text":
        batch["targets"] = pad_ids(targets, rows, target_length)
    elif targets is not None and spec.targets.modality == "label":
        batch["targets"] = np.zeros(rows, np.int32)
        batch["targets"][:count] = targets
    elif targets is not None:
        raise UserError(f"{spec.name}: a model can write text and classes, not {spec.targets.modality}")
    batch["command"] = np.full(rows, spec.command_id, np.int32)
    batch["example_weights"] = (np.arange(rows) < count).astype(np.float32)
    return batch


def encode_inputs(spec, values, vocabulary=None, lengths=None):
    """The batch for raw inputs that a user gives at decode time, without targets.

    Args:
      spec: the `ProblemSpec`.
      values: strings, uint8 pictures [height, width, channels], or int16 recordings at `spec.inputs.rate`.
      vocabulary: has `encode_batch`; needed for text.
      lengths: `lengths.InputLengths` that says what to pad to; None: the longest of the values.

    Raises:
      UserError: a value that is not what the problem reads; it is named by its place, from 1.
    """
    modality = spec.inputs.modality
    for place, value in enumerate(values, 1):
        _check_raw(spec, value, f"{spec.name}: input {place}")
    if modality == "text":
        values = [np.asarray(ids, np.int64) for ids in vocabulary.encode_batch(list(values))]
    longest = lengths.padded(max((len(v) for v in values), default=0)) if lengths is not None else 0
    return make_batch(spec, values, input_length=0 if modality == "image" else int(longest))


def pad_ids(ids, rows, length=0):
    """Ids without end-of-sequence → int32 [rows, length]: ids, end-of-sequence (1), zeros; spare rows all zeros."""
    values, lengths = ids if isinstance(ids, Ragged) else Ragged.of(ids)
    length = max(length, int(lengths.max(initial=0)) + 1)
    padded = np.zeros((rows, length), np.int32)
    filled = padded[: len(lengths)]
    filled[np.arange(length) < lengths[:, None]] = values
    filled[np.arange(len(lengths)), lengths] = EOS_ID
    return padded


def pad_pictures(pictures, rows, feature_spec):
    """Pictures → uint8 [rows, height, width, channels]; spare rows black."""
    shape = (feature_spec.height, feature_spec.width, feature_spec.channels)
    padded = np.zeros((rows, *shape), np.uint8)
    if len(pictures):
        padded[: len(pictures)] = pictures
    return padded


def pad_sound(sound, rows, length=0):
    """int16 recordings → (float32 [rows, length] in [-1, 1), then zeros; their lengths, int32 [rows], in samples)."""
    values, lengths = sound if isinstance(sound, Ragged) else Ragged.of(sound)
    length = max(length, int(lengths.max(initial=0)))
    padded = np.zeros((rows, length), np.float32)
    padded[: len(lengths)][np.arange(length) < lengths[:, None]] = values
    padded /= 32768.0
    counts = np.zeros(rows, np.int32)
    counts[: len(lengths)] = lengths
    return padded, counts


def _check_raw(spec, value, where):
    wanted = spec.inputs
    if wanted.modality == "text":
        if not isinstance(value, str):
            raise UserError(f"{where} must be a string, not {type(value).__name__}")
        return
    dtype, shape = getattr(value, "dtype", type(value).__name__), getattr(value, "shape", ())
    if wanted.modality == "image":
        size = (wanted.height, wanted.width, wanted.channels)
        if dtype != np.uint8 or shape != size:
            raise UserError(f"{where} must be a uint8 picture {size}, not {dtype} {shape}")
    elif dtype != np.int16 or len(shape) != 1 or not len(value):
        raise UserError(f"{where} must be int16 sound of one channel at {wanted.rate} Hz, not {dtype} {shape}")
