"""The optimizers of `adam.py` and `muon.py` on TensorFlow, by its own operation for Adam."""

import keras
import tensorflow as tf

from t2t_multimodel.training.adam import LazyAdam, by_expert
from t2t_multimodel.training.muon import Matrices


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam with each variable's update as TensorFlow's one operation for it: one pass over memory, not a
    dozen.
    """

    nesterov = False

    def _backend_update_step(self, gradients, variables, learning_rate):
        shared = self._shared(learning_rate)
        for gradient, variable in zip(gradients, variables):
            self._update(gradient, variable, shared)

    def _shared(self, learning_rate):
        """What the updates of all variables have in common, as `ResourceApplyAdam` calls it."""
        time = tf.cast(self.iterations + 1, tf.float32)
        # (As tensors: every variable's call would make three constants of numbers first.)
        beta1, beta2, epsilon = (tf.constant(number, tf.float32) for number in (self.beta_1, self.beta_2, self.epsilon))
        return {
            "beta1_power": tf.pow(beta1, time),
            "beta2_power": tf.pow(beta2, time),
            "lr": tf.convert_to_tensor(learning_rate),
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
        }

    def _update(self, gradient, variable, shared):
        momentum, velocity = self._averages(variable)
        kept = {"var": variable.value.handle, "m": momentum.handle, "v": velocity.handle}
        tf.raw_ops.ResourceApplyAdam(**kept, grad=gradient, use_nesterov=self.nesterov, **shared)

    def _averages(self, variable):
        """The averages of a variable's gradients and of their squares."""
        index = self._get_variable_index(variable)
        return self._momentums[index].value, self._velocities[index].value


class FusedNadam(FusedAdam):
    """`adam.Nadam` as the same operation."""

    nesterov = True


class FusedLazyAdam(FusedAdam, LazyAdam):
    """`LazyAdam` that reads and writes the rows of the experts used, and no others."""

    def _update(self, gradient, variable, shared):
        if not by_expert(variable):
            super()._update(gradient, variable, shared)
            return
        rows = tf.reshape(gradient, [variable.shape[0], -1])
        used = tf.logical_or(tf.reduce_max(rows, axis=1) > 0.0, tf.reduce_min(rows, axis=1) < 0.0)
        used = tf.where(used)[:, 0]
        tf.cond(
            tf.equal(tf.size(used), variable.shape[0]),
            lambda: self._update_all(gradient, variable, shared),
            lambda: self._update_rows(tf.gather(gradient, used), variable, used, shared),
        )

    def _update_all(self, gradient, variable, shared):
        if self._decays(variable):
            variable.value.assign_sub(variable.value * (self.weight_decay * shared["lr"]))
        super()._update(gradient, variable, shared)

    def _update_rows(self, gradient, variable, rows, shared):
        """What `ResourceApplyAdam` computes, up to rounding, of some rows."""
        momentum, velocity = self._averages(variable)
        old = tf.gather(variable.value, rows)
        if self._decays(variable):
            old -= old * (self.weight_decay * shared["lr"])
        m, v = tf.gather(momentum, rows), tf.gather(velocity, rows)
        m += (gradient - m) * (1.0 - self.beta_1)
        v += (gradient * gradient - v) * (1.0 - self.beta_2)
        rate = shared["lr"] * tf.sqrt(1.0 - shared["beta2_power"]) / (1.0 - shared["beta1_power"])
        new = old - m * rate / (tf.sqrt(v) + self.epsilon)
        for of_rows, whole in ((m, momentum), (v, velocity), (new, variable.value)):
            tf.raw_ops.ResourceScatterUpdate(resource=whole.handle, indices=rows, updates=of_rows)
            tf.raw_ops.DisableCopyOnRead(resource=whole.handle)  # the scatter has every later read copy the whole


class FusedMuon(Matrices, FusedNadam):
    """`muon.Muon`; what is no matrix is updated by that one operation."""


# By `HParams.optimizer`.
OPTIMIZERS = {"adam": FusedAdam, "nadam": FusedNadam, "lazy_adam": FusedLazyAdam, "muon": FusedMuon}
