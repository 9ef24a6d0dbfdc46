"""The graph of a SavedModel: strings in, strings or classes with scores out; tokenizer, search and grammar in it."""

from typing import Any

import numpy as np

from t2t_multimodel.decode_hparams import beam_of
from t2t_multimodel.decoding.batch_decoder import BUFFER_STEP
from t2t_multimodel.decoding.decode import predict, read_source, write_text
from t2t_multimodel.exporting.graph_grammars import rows_in_graph
from t2t_multimodel.exporting.readers import reader_of
from t2t_multimodel.modalities.arrays import joined_name

INPUTS = "inputs"


class Served:
    """A `Slice` as concrete functions, and what `tf.saved_model.save` is to write with them."""

    def __init__(self, part: Any) -> None:
        import tensorflow as tf

        inputs = part.spec.inputs
        members = inputs.members or ((INPUTS, inputs),)
        self.readers = {name: reader_of(modality, part.vocabulary) for name, modality in members}
        self._part, self._grammar = part, part.grammar
        # What is saved: not the Keras model, whose variables would be written a second time.
        self.saved = tf.Module()
        if part.writes_ids or any(modality.uses_vocabulary for _, modality in members):
            self.saved.tokenizer = part.vocabulary.in_graph().tokenizer
        self._weights: dict[int, Any] = {}

    def signature(self, fused: bool = False) -> Any:
        """A concrete function {input: strings [batch]} → {output: [batch, …]}, whose weights `saved` holds then.

        Args:
          fused: search is one XLA program for each size, with batches padded to powers of two.
        """
        import tensorflow as tf

        specs = {name: tf.TensorSpec([None], tf.string, name=name) for name in self.readers}
        function = tf.function(lambda **raw: self._answer(raw, fused), autograph=False)
        concrete = function.get_concrete_function(**specs)
        self._weights |= {id(variable): variable for variable in concrete.graph.variables}
        self.saved.weights = list(self._weights.values())
        return concrete

    def _batch(self, raw):
        import tensorflow as tf

        batch = {}
        for name, reader in self.readers.items():
            side = INPUTS if name == INPUTS else joined_name(INPUTS, name)
            batch |= {joined_name(side, array): value for array, value in reader.arrays(raw[name]).items()}
        rows = tf.shape(next(iter(raw.values())))[0]
        return batch | {"command": tf.fill([rows], self._part.spec.command_id), "example_weights": tf.ones([rows])}

    def _answer(self, raw, fused):
        import tensorflow as tf

        part = self._part
        batch = self._batch(raw)
        if part.writes_ids:
            wanted = tf.constant(0)
            if self._grammar:
                wanted = rows_in_graph(self._grammar, raw[INPUTS], most_leaves=part.limit)
            ids, scores = self._written(batch, wanted, fused)
            return {"outputs": part.vocabulary.in_graph().detokenize(ids), "scores": scores}
        predicted = predict(part.model, part.spec, batch)
        names = tf.constant(part.spec.targets.value_names or [""])
        if part.spec.targets.ranked:
            classes = tf.gather(names, predicted["order"])
            return {"outputs": classes[:, 0], "classes": classes, "scores": tf.exp(predicted["scores"])}
        outputs = {"outputs": predicted["values"]}
        if part.spec.targets.value_names:
            outputs["labels"] = tf.repeat(names[None], tf.shape(predicted["values"])[0], axis=0)
        return outputs

    def _written(self, batch, wanted, fused):
        import tensorflow as tf

        part = self._part
        settings = part.settings

        def write(cache, command, wanted):
            return write_text(
                part.model,
                part.spec.targets,
                cache,
                command,
                tf.constant(part.limit),
                -(-part.limit // BUFFER_STEP) * BUFFER_STEP,
                beam_of(settings),
                tf.constant(settings["alpha"], tf.float32),
                self._grammar,
                wanted,
            )

        cache = read_source(part.model, part.spec, batch)
        if not fused:
            return write(cache, batch["command"], wanted)
        rows = tf.shape(batch["command"])[0]
        bits = tf.math.ceil(tf.math.log(tf.cast(tf.maximum(rows, 1), tf.float64)) / np.log(2.0))
        more = tf.bitwise.left_shift(1, tf.cast(bits, tf.int32)) - rows
        if self._grammar:
            wanted = self._filled(wanted, 0, more)
        cache, command = tf.nest.map_structure(lambda x: self._filled(x, 0, more), (cache, batch["command"]))
        ids, scores = tf.function(write, autograph=False, jit_compile=True)(cache, command, wanted)
        return ids[:rows], scores[:rows]

    @staticmethod
    def _filled(x, axis, more):
        """`x` with `more` copies of its last slice along an axis; scalars as they are."""
        import tensorflow as tf

        if not x.shape.rank:
            return x
        last = tf.gather(x, [tf.shape(x)[axis] - 1], axis=axis)
        return tf.concat([x, tf.repeat(last, more, axis=axis)], axis=axis)
