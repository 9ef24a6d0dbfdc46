"""One position at a time: what the causal convolutions of a model remember of the positions before.

All taps of a causal convolution but the last see the past only. So what they add to a position is known before the
position is computed, and it is computed for all convolution steps of one kind at once: decoding costs a few
operations a kind where it would cost as many a step.
"""

from keras import ops


class ConvolutionHistory:
    """The past inputs of causal `ConvStep`s: a ring buffer [past, batch, steps, features] for each kind of step.

    A kind is (taps, dilation); its buffer holds the last (taps − 1)·dilation inputs, after ReLU, of its steps.
    """

    def __init__(self, steps, prepared=()):
        """Args:
        steps: the `ConvStep`s in any fixed order. prepared: other layers with `constants` of their own.
        """
        self._layers = [*steps, *prepared]
        self._kinds = {}
        for step in steps:
            if step.taps > 1:
                self._kinds.setdefault((step.taps, step.dilation), []).append(step)

    def initial_state(self, batch):
        """Nothing was before: zeros."""
        return [
            ops.zeros(((taps - 1) * dilation, batch, len(steps), steps[0].bias.shape[0]), dtype="float32")
            for (taps, dilation), steps in self._kinds.items()
        ]

    def constants(self):
        """What does not change from position to position; to be computed once, outside the loop."""
        kernels = [
            ops.stack([ops.cast(step.kernel, "float32")[-2::-1] for step in steps], axis=1)[:, None]
            for steps in self._kinds.values()
        ]  # of each kind [taps − 1, 1, steps, features], the nearest past first
        return {"kernels": kernels, "layers": [layer.constants() for layer in self._layers]}

    def position(self, state, constants, time):
        """The `Position` number `time` (scalar int), with what the past adds to it."""
        past = {}
        for ring, kernel, ((taps, dilation), steps) in zip(state, constants["kernels"], self._kinds.items()):
            slots = (time - dilation * ops.arange(1, taps)) % ((taps - 1) * dilation)
            total = ops.sum(ops.take(ring, slots, axis=0) * kernel, axis=0)  # [batch, steps, features]
            past |= {id(step): part for step, part in zip(steps, ops.unstack(total, len(steps), axis=1))}
        return Position(time, past, {id(layer): c for layer, c in zip(self._layers, constants["layers"])})

    def after(self, state, position):
        """The state with the inputs of a position that every step has been through."""
        new = []
        for ring, ((taps, dilation), steps) in zip(state, self._kinds.items()):
            inputs = ops.stack([position.inputs[id(step)] for step in steps], axis=1)  # [batch, steps, features]
            slot = ops.reshape(position.time % ((taps - 1) * dilation), [1, 1])
            new.append(ops.scatter_update(ring, slot, inputs[None]))
        return new


class Position:
    """One position on its way through the model: `time`, and for each `ConvStep` what the past adds to it."""

    def __init__(self, time, past=None, constants=None):
        self.time = time
        self.inputs = {}  # of each step, as they come to be known
        self._past, self._constants = past or {}, constants or {}

    def constants_of(self, layer):
        """What a layer computed of its weights before the first position; computed here where nobody did."""
        return self._constants[id(layer)] if id(layer) in self._constants else layer.constants()

    def through(self, step, x):
        """A `ConvStep` here, from its ReLU to its norm: x [batch, features] → the same."""
        self.inputs[id(step)] = x
        last_tap, weights, bias = self.constants_of(step)
        x = x * last_tap
        if id(step) in self._past:
            x = x + self._past[id(step)]
        return ops.matmul(x, weights) + bias
