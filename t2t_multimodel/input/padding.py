"""From stored samples of different lengths to the arrays of a batch (docs/architecture.md, "A batch")."""

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities.arrays import joined_name


def make_batch(spec, inputs, targets=None, *, rows=0, input_length=0, target_length=0):
    """The arrays of a batch: those of both sides, `command`, `example_weights`.

    Args:
      spec: the `ProblemSpec`.
      inputs: {name: column} as `Modality.pad` takes it, e.g. of `columns_of`. targets: the same, or None.
      rows: rows of the batch; what the examples don't fill is zeros with example weight 0. 0: no such rows.
      input_length: length to pad to, with the end-of-sequence. 0: the longest. target_length: the same for targets.

    Returns:
      {name: array} of B rows: the arrays of `Modality.tensors`, called by the side alone ("inputs", "targets") or with
      their own name behind it ("inputs_length"); `command` int32 [B]; `example_weights` float32 [B].
    """
    count = _rows(inputs) if inputs else _rows(targets)
    rows = max(rows, count)
    batch = {}
    for side, columns, length in (("inputs", inputs, input_length), ("targets", targets, target_length)):
        if columns is not None:
            padded = getattr(spec, side).pad(columns, rows, length)
            batch |= {joined_name(side, name): array for name, array in padded.items()}
    batch["command"] = np.full(rows, spec.command_id, np.int32)
    batch["example_weights"] = (np.arange(rows) < count).astype(np.float32)
    return batch


def columns_of(samples):
    """Stored samples, arrays or dicts of arrays, as {name: list of arrays}."""
    if not len(samples) or not isinstance(samples[0], dict):
        return {"values": list(samples)}
    return {name: [sample[name] for sample in samples] for name in samples[0]}


def samples_of_values(spec, values, first=1):
    """What a person gives to be decoded as samples of a problem's inputs: paths are read, arrays checked.

    Args:
      first: the number of the first value.

    Raises:
      UserError: a value that is not what the problem reads; it is named by its number.
    """
    samples = []
    for place, value in enumerate(values, first):
        try:
            samples.append(spec.inputs.from_line(value))
        except (ValueError, OSError) as error:
            raise UserError(f"{spec.name}: input {place}: {error}") from None
    return samples


def _rows(columns):
    column = next(iter(columns.values()))
    return len(getattr(column, "lengths", column))
