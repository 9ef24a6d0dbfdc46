"""Graphs: nodes with features, and edges between them; in, read by message passing."""

import dataclasses
import json
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from t2t_multimodel.layers.layer import ModalityNet
from t2t_multimodel.modalities import ArraySpec, Modality
from t2t_multimodel.modalities.arrays import as_ragged
from t2t_multimodel.registry import register_modality


@register_modality
@dataclasses.dataclass(frozen=True)
class Graph(Modality):
    """{"nodes": float32 [N, features], "edges": int32 [E, 2]}: a pair of nodes an edge, from one to the other.

    A batch holds dense adjacency matrices, so memory grows with N²: for graphs of some hundred nodes at most.
    """

    variable_length: ClassVar[bool] = True
    length_unit: ClassVar[str] = "nodes"

    features: int = 1
    directed: bool = False  # False: an edge is read both ways
    rounds: int = 4  # of message passing: how many edges far a node sees

    def declaration_fault(self):
        return "" if self.features > 0 and self.rounds > 0 else "must have features and rounds of at least 1"

    def check(self, value):
        if not isinstance(value, dict) or set(value) != {"nodes", "edges"}:
            raise ValueError('a dict of "nodes" and "edges" expected')
        for name, dtype, width in (("nodes", np.float32, self.features), ("edges", np.int32, 2)):
            array = value[name]
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape[1:] != (width,):
                raise ValueError(f"{name}: an array {np.dtype(dtype)} [any, {width}] expected")
        if not len(value["nodes"]) or not np.isfinite(value["nodes"]).all():
            raise ValueError("at least one node expected, and finite features")
        if fault := self.stored_fault(value):
            raise ValueError(fault)

    def from_line(self, line):
        """A dict, or JSON of it: {"nodes": [[1.0], [0.0]], "edges": [[0, 1]]}."""
        graph = json.loads(line) if isinstance(line, str) else line
        try:
            edges = np.asarray(graph["edges"], np.int32).reshape(-1, 2)
            graph = {"nodes": np.asarray(graph["nodes"], np.float32), "edges": edges}
        except (KeyError, TypeError):
            raise ValueError('it must have "nodes" and "edges", lists of lists of numbers') from None
        self.check(graph)
        return graph

    def stored(self):
        return {"nodes": ArraySpec("float32", (None, self.features)), "edges": ArraySpec("int32", (None, 2))}

    def encode(self, samples, vocabulary=None):
        return samples

    def stored_fault(self, arrays):
        ends = arrays["edges"]
        outside = len(ends) and not 0 <= ends.min() <= ends.max() < len(arrays["nodes"])
        return f"an edge to a node that is not there, of {len(arrays['nodes'])}" if outside else ""

    def tensors(self):
        nodes, adjacency = ((None, self.features), "float32"), ((None, None), "float32")
        return {"nodes": nodes, "adjacency": adjacency, "length": ((), "int32")}

    def pad(self, columns, rows, length=0):
        nodes, edges = as_ragged(columns["nodes"]), as_ragged(columns["edges"]).rows()
        size = max(length, int(nodes.lengths.max(initial=0)))
        adjacency, lengths = np.zeros((rows, size, size), np.float32), np.zeros(rows, np.int32)
        lengths[: len(nodes.lengths)] = nodes.lengths
        for row, pairs in enumerate(edges):
            source, goal = pairs.reshape(-1, 2).T.astype(int)
            adjacency[row, goal, source] = 1.0
            if not self.directed:
                adjacency[row, source, goal] = 1.0
        padded = nodes.padded(rows, size, np.float32, (self.features,))
        return {"nodes": padded, "adjacency": adjacency, "length": lengths}

    def make_encoder(self, hparams, name):
        return GraphEncoder(self, hparams, name=name)


class GraphEncoder(ModalityNet):
    """h = W₀ nodes; in each round h += W₂ relu(W₁ [h; Σ h of the nodes that an edge comes from])."""

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(**kwargs)
        size = hparams.hidden_size
        with keras.name_scope(self.name):
            self.embed = _dense(modality.features, size, "embed")
            self.rounds = [
                (_dense(2 * size, 2 * size, f"hidden{i}", "relu"), _dense(2 * size, size, f"output{i}"))
                for i in range(modality.rounds)
            ]

    def call(self, arrays, training=False):
        adjacency, nodes = arrays["adjacency"], arrays["nodes"]
        mask = ops.cast(ops.arange(ops.shape(nodes)[1]) < arrays["length"][:, None], "float32")
        wide = ops.cast(mask, nodes.dtype)[..., None]
        h = self.embed(nodes) * wide
        for hidden, output in self.rounds:
            h = (h + output(hidden(ops.concatenate([h, ops.matmul(adjacency, h)], axis=-1)))) * wide
        return h, mask, None


def _dense(inputs, outputs, name, activation=None):
    layer = keras.layers.Dense(outputs, activation=activation, name=name)
    layer.build((None, None, inputs))
    return layer
