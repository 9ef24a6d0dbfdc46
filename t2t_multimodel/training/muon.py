"""Muon: matrices go where the nearest orthogonal matrix to their average gradient points; all else is updated by Nadam.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Adam scales each weight of a matrix by
itself; here all of its singular values are made alike, so that directions that few examples ask for are learnt as
quickly as the others.
"""

import math

import keras
from keras import ops

from t2t_multimodel.layers.layer import is_matrix
from t2t_multimodel.training.adam import Nadam, by_expert

MOMENTUM = 0.95
# Of x ↦ a·x + b·x³ + c·x⁵, which takes singular values from (0, 1] to about 1 in a few steps (Jordan et al. 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315
STEPS = 3  # Jordan et al. take five: their matrices are larger
RATIO = 0.2  # root mean square of an update, over the learning rate: about Adam's (Liu et al. 2025, arXiv 2502.16982)
_MOST_TOGETHER = 1 << 20  # entries of a matrix of which all of one shape are computed as one array


class Matrices:
    """Has an Adam of Keras, the next class, update what is no matrix; see `layers.layer.is_matrix`.

    Matrices have one average, not two. Of experts, a variable [E, m, n], those without a gradient stay as they are, and
    are not decayed.
    """

    def build(self, variables):
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        make = lambda v, name: self.add_variable_from_reference(v, name)
        self._momentums = [make(v, "momentum") for v in variables]
        self._velocities = [None if is_matrix(v) else make(v, "velocity") for v in variables]

    def _apply_weight_decay(self, variables):
        super()._apply_weight_decay([v for v in variables if not (is_matrix(v) and by_expert(v))])

    def _backend_update_step(self, gradients, variables, learning_rate):
        others, by_shape = [], {}
        for gradient, variable in zip(gradients, variables):
            if is_matrix(variable):
                by_shape.setdefault(tuple(variable.shape), []).append((gradient, variable))
            else:
                others.append((gradient, variable))
        if others:
            super()._backend_update_step(*map(list, zip(*others)), learning_rate)
        for shape, matrices in by_shape.items():
            together = len(matrices) if math.prod(shape) <= _MOST_TOGETHER else 1
            for first in range(0, len(matrices), together):
                self._update_matrices(matrices[first : first + together], learning_rate)

    def _update_matrices(self, matrices, learning_rate):
        """Updates variables of one shape: [(gradient, variable)]."""
        ahead = []
        for gradient, variable in matrices:
            momentum = self._momentums[self._get_variable_index(variable)]
            gradient = ops.cast(gradient, "float32")
            new = MOMENTUM * ops.convert_to_tensor(momentum) + gradient
            self.assign(momentum, ops.where(_used(gradient, variable), new, ops.convert_to_tensor(momentum)))
            ahead.append(gradient + MOMENTUM * new)  # Nesterov's
        moves = ops.unstack(orthogonal(ops.stack(ahead)), len(ahead))
        rate = ops.cast(learning_rate, "float32") * (RATIO * max(matrices[0][1].shape[-2:]) ** 0.5)
        for move, (gradient, variable) in zip(moves, matrices):
            move = ops.cast(rate * move, variable.dtype)
            if by_expert(variable) and self.weight_decay and self._use_weight_decay(variable):
                move = move + variable * (self.weight_decay * ops.cast(learning_rate, variable.dtype))
            self.assign_sub(variable, ops.where(_used(gradient, variable), move, 0.0))


class Muon(Matrices, Nadam):
    """Muon, and Nadam for what is no matrix. On TensorFlow by way of `tensorflow_adam.FusedMuon`."""


def orthogonal(x):
    """The orthogonal matrix nearest to each of x [..., m, n] (U·Vᵀ of its singular value decomposition), roughly:
    its singular values above a twentieth of the root of the sum of their squares become values from 0.6 to 1.3.
    """
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else ops.swapaxes(x, -1, -2)
    x = x / (ops.sqrt(ops.sum(ops.square(x), axis=(-2, -1), keepdims=True)) + 1e-7)
    for _ in range(STEPS):
        square = ops.matmul(x, ops.swapaxes(x, -1, -2))
        x = _A * x + ops.matmul(_B * square + _C * ops.matmul(square, square), x)
    return x if wide else ops.swapaxes(x, -1, -2)


def _used(gradient, variable):
    """Of experts whether each has a gradient, [E, 1, 1]; of another matrix True."""
    if not by_expert(variable):
        return True
    return ops.any(ops.not_equal(gradient, 0), axis=(1, 2), keepdims=True)
