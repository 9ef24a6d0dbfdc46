"""What the model looked at and which experts it used while it made an answer, from the intermediates of a pass."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Explanation:
    """An answer and where it comes from. Attention suggests what a layer reads, but does not prove it."""

    answer: Any
    pieces: list[str]  # subwords of a text, and its end; [] of an answer that is not written piece by piece
    attention: dict[str, np.ndarray]  # by layer, over the encoded input: [pieces, positions], each row sums to 1
    axis: dict[str, Any]  # what the positions are: `Modality.attention_axis`
    experts: dict[str, np.ndarray]  # "encoder", "decoder": each expert's share of the gates, [experts]; {} without

    @property
    def mean_attention(self) -> np.ndarray | None:
        """[pieces, positions], the mean over the blocks of the decoder, or over all layers where it has none."""
        decoder = {name: weights for name, weights in self.attention.items() if name.startswith("decoder/")}
        chosen = list((decoder or self.attention).values())
        return np.mean(chosen, axis=0) if chosen else None


def attention_over_source(seen):
    """The attention of the first example over its encoded input: {layer: float32 [pieces, real positions]}, the mean
    over the heads.

    Args:
      seen: of `MultiModel.capture`.
    """
    real = int(seen["source_real"][0].sum())
    over_source = {name: array[0] for name, array in seen["attention"].items() if "self_attention" not in name}
    return {name: array.mean(axis=0)[:, :real] for name, array in over_source.items()}


def expert_shares(seen):
    """The share of each expert in the gates of a batch: {"encoder", "decoder": float32 [experts], which sum to 1}."""
    sums = {}
    for name, gates in seen["experts"].items():
        part = name.split("/")[0]
        sums[part] = sums.get(part, 0.0) + gates.sum(axis=(0, 1))
    return {part: total / max(total.sum(), 1e-12) for part, total in sums.items()}
