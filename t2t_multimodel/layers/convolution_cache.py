"""One position at a time: what the causal convolutions of a model read of the positions before, cached.

All of the kernel of a causal convolution but its last entry reads the past only. So what the past adds to a position
is known before the position is computed, and it is computed for all convolution steps of one kind at once: decoding
costs a few operations for each kind instead of for each step.

Beam search moves nothing: a hypothesis that goes on in another row reads its past from the rows where it was written.
"""

from typing import Any, NamedTuple

from keras import ops

from t2t_multimodel.kernels.write_slice import write_slice


class Beams(NamedTuple):
    """Where the hypotheses of a beam search have their past: `size` rows an example, next to each other.

    rows: int32 [T, B], the row in which what stands in a row now was computed at each time before.
    """

    size: int
    rows: Any


class ConvolutionCache:
    """The past inputs of causal `ConvStep`s: a ring buffer [past, B, steps, d] for each kind of step.

    A kind is (k, dilation); its buffer holds the last (k − 1)·dilation inputs, after ReLU, of its steps. The input of a
    position is written when the next one starts: a compiler sees that it may write in place, before the first read.
    """

    def __init__(self, steps, prepared=()):
        """Args:
        steps: the `ConvStep`s in any fixed order. prepared: other layers with `constants` of their own.
        """
        self._layers = [*steps, *prepared]
        self._kinds = {}
        for step in steps:
            if step.kernel_size > 1:
                self._kinds.setdefault((step.kernel_size, step.dilation), []).append(step)

    def initial_state(self, batch):
        """Nothing was before: zeros."""
        state = []
        for (kernel_size, dilation), steps in self._kinds.items():
            entry = (batch, len(steps), steps[0].bias.shape[0])
            ring = ops.zeros(((kernel_size - 1) * dilation, *entry), dtype="float32")
            state.append({"ring": ring, "last": ops.zeros(entry, dtype="float32")})
        return state

    def constants(self):
        """What does not change from position to position; to be computed once, outside the loop."""
        kernels = [
            ops.stack([ops.cast(step.kernel, "float32")[-2::-1] for step in steps], axis=1)[:, None]
            for steps in self._kinds.values()
        ]  # of each kind [k − 1, 1, steps, d], the nearest past first
        return {"kernels": kernels, "layers": [layer.constants() for layer in self._layers]}

    def position(self, state, constants, time, beams=None):
        """The `Position` number `time` (scalar int), with what the past adds to it; beams: `Beams`, or None."""
        past, rings = {}, []
        for old, kernel, ((kernel_size, dilation), steps) in zip(state, constants["kernels"], self._kinds.items()):
            slot = (time - 1) % ((kernel_size - 1) * dilation)
            ring = write_slice(old["ring"], slot, old["last"][None], axis=0)
            rings.append(ring)
            # One term for each entry of the kernel: gathered together, their sum would be a slow reduction.
            total = sum(_read(ring, time - i * dilation, beams) * kernel[i - 1] for i in range(1, kernel_size))
            past |= {id(step): part for step, part in zip(steps, ops.unstack(total, len(steps), axis=1))}
        known = {id(layer): c for layer, c in zip(self._layers, constants["layers"])}
        return Position(time, rings, past, known, beams)

    def after(self, position):
        """The state with the inputs of a position that every step has been through."""
        inputs = [[position.inputs[id(step)] for step in steps] for steps in self._kinds.values()]
        return [{"ring": ring, "last": ops.stack(last, axis=1)} for ring, last in zip(position.rings, inputs)]


def _read(ring, time, beams):
    """What a ring [past, B, …] holds of a time, each row's own past: [B, …]."""
    slot = time % ring.shape[0]
    entry = ops.slice(ring, [slot, 0, 0, 0], [1, *ops.shape(ring)[1:]])[0]
    if beams is None:
        return entry
    return ops.take(entry, ops.take(beams.rows, ops.maximum(time, 0), axis=0), axis=0)


class Position:
    """One position on its way through the model: `time`, `beams`, and for each `ConvStep` what the past adds to it."""

    def __init__(self, time, rings=(), past=None, constants=None, beams=None):
        self.time, self.rings, self.beams = time, rings, beams
        self.inputs = {}  # of each step, as they come to be known
        self._past, self._constants = past or {}, constants or {}

    def constants_of(self, layer):
        """What a layer computed of its weights before the first position; computed here if that was not done."""
        return self._constants[id(layer)] if id(layer) in self._constants else layer.constants()

    def through(self, step, x):
        """A `ConvStep` here, from its ReLU to its norm: x [B, d] → the same."""
        self.inputs[id(step)] = x
        last_of_kernel, weights, bias = self.constants_of(step)
        x = x * last_of_kernel
        if id(step) in self._past:
            x = x + self._past[id(step)]
        return ops.matmul(x, weights) + bias
