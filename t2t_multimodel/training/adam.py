"""Adam; Nadam, with Nesterov's momentum; and LazyAdam, where experts that no token was sent to stay as they are."""

import keras
from keras import ops


class Nadam(keras.optimizers.Adam):
    """Adam with Nesterov's momentum: a step goes where the next average of gradients would point, were the next
    gradient like this one (Dozat 2016, "Incorporating Nesterov Momentum into Adam").

    Without that paper's schedule of β₁, and with Adam's correction for averages that begin at zero, as TensorFlow's own
    operation has it: the step is along β₁·m + (1 − β₁)·g, where Adam's is along m.
    """

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        time = ops.cast(self.iterations + 1, variable.dtype)
        rate = rate * ops.sqrt(1 - self.beta_2**time) / (1 - self.beta_1**time)
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        ahead = self.beta_1 * momentum + (1 - self.beta_1) * gradient
        self.assign_sub(variable, ahead * rate / (ops.sqrt(velocity) + self.epsilon))


class LazyAdam(keras.optimizers.Adam):
    """Adam that updates, of a variable with rows by expert, only the experts with a gradient that is not zero.

    What TensorFlow's contributed LazyAdam does for the rows of an embedding.

    Adam moves a weight without a gradient on, along its average of earlier ones, and lets both averages fade. Here an
    expert that no token used keeps its weights and both averages, and is not decayed; where all are used, the result is
    Adam's, up to rounding. A variable has rows by expert where its `by_expert` is True. (On TensorFlow by way of
    `tensorflow_adam.FusedLazyAdam` only: Keras would hand variables without that mark to `update_step` there.)
    """

    def update_step(self, gradient, variable, learning_rate):
        if not by_expert(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        kept = [variable, self._momentums[index], self._velocities[index]]
        before = [ops.convert_to_tensor(v) for v in kept]
        if self._decays(variable):
            self.assign_sub(variable, variable * (self.weight_decay * learning_rate))
        super().update_step(gradient, variable, learning_rate)
        used = ops.any(ops.not_equal(gradient, 0), axis=tuple(range(1, len(variable.shape))), keepdims=True)
        for v, old in zip(kept, before):
            self.assign(v, ops.where(used, ops.convert_to_tensor(v), old))

    def _apply_weight_decay(self, variables):
        super()._apply_weight_decay([v for v in variables if not by_expert(v)])

    def _decays(self, variable):
        return self.weight_decay is not None and self._use_weight_decay(variable)


def by_expert(variable):
    """Whether a variable's first axis is that of the experts."""
    return getattr(variable, "by_expert", False)
