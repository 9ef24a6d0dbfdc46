"""Adafactor: averages of squared gradients kept as a row and a column of each matrix; Shazeer & Stern 2018.

No average is as large as its matrix, so the optimizer's state of a large model is a small share of its weights
(Adam's is twice the weights). arXiv 1804.04235; the numbers of equations are the paper's.
"""

import keras
from keras import ops

from t2t_multimodel.training.adam import by_expert

LEAST_FACTORED = 128  # a matrix with a shorter side keeps its average whole: its factors would save little


class Adafactor(keras.optimizers.Optimizer):
    """Adafactor with factored second moments, update clipping and steps relative to the size of the weights.

    Of a variable [..., m, n] with m, n ≥ `least_factored` the averages are a row [..., m] and a column [..., n] for
    each of its matrices; of others one average of their own shape. The learning rate is relative: 0.01 moves a weight
    by about a hundredth of the root mean square of its variable.

    Experts are variables of their own: of a variable [E, ...] with `by_expert`, each expert's update is clipped and
    scaled by itself. An expert without a gradient keeps its weights, undecayed; its averages fade.
    """

    def __init__(
        self,
        learning_rate,
        decay_exponent=0.8,
        clip_threshold=1.0,
        square_floor=1e-30,
        least_scale=1e-3,
        least_factored=LEAST_FACTORED,
        **kwargs,
    ):
        """Args:
        decay_exponent: c of β_t = 1 − t^−c, the weight of the old average at update t.
        clip_threshold: d, the root mean square of an update beyond which it is scaled down.
        square_floor: ε1, added to each squared gradient.
        least_scale: ε2, what variables count as at least, so that zeros can grow.
        least_factored: the smallest side of a matrix that has a factored average.
        kwargs: of `keras.optimizers.Optimizer`, such as name and weight_decay.
        """
        super().__init__(learning_rate, **kwargs)
        self.decay_exponent, self.clip_threshold = decay_exponent, clip_threshold
        self.square_floor, self.least_scale, self.least_factored = square_floor, least_scale, least_factored

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        # By the index of the variable: Keras hands `update_step` one without the mark `by_expert` on TensorFlow.
        self._averages = [self._make_averages(variable) for variable in variables]
        self._by_expert = [by_expert(variable) for variable in variables]

    def _make_averages(self, variable):
        """[row, column] where the variable is factored, else [average]."""
        shape = tuple(variable.shape)
        name = variable.path.replace("/", "_")
        if len(shape) < 2 or min(shape[-2:]) < self.least_factored:
            shapes = {"square": shape}
        else:
            shapes = {"square_row": shape[:-1], "square_column": (*shape[:-2], shape[-1])}
        made = [self.add_variable(shape=of, dtype="float32", name=f"{name}_{kind}") for kind, of in shapes.items()]
        for average in made:
            average.by_expert = by_expert(variable)
        return made

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, "float32")
        update = gradient * self._inverse_root(index, ops.square(gradient) + self.square_floor)
        size = lambda x: self._root_mean_square(index, x)
        update = update / ops.maximum(1.0, size(update) / self.clip_threshold)  # eq. of §6
        weights = ops.cast(ops.convert_to_tensor(variable), "float32")
        move = ops.maximum(self.least_scale, size(weights)) * update  # §8
        if self._by_expert[index] and self.weight_decay and self._use_weight_decay(self._trainable_variables[index]):
            used = ops.any(ops.not_equal(gradient, 0), axis=tuple(range(1, len(gradient.shape))), keepdims=True)
            move = move + ops.where(used, self.weight_decay * weights, 0.0)
        self.assign_sub(variable, ops.cast(ops.cast(learning_rate, "float32") * move, variable.dtype))

    def _apply_weight_decay(self, variables):
        super()._apply_weight_decay([v for v in variables if not by_expert(v)])

    def _inverse_root(self, index, square):
        """1/√V̂ of a variable, in factors that broadcast to it: its averages take in `square`, of the same shape."""
        time = ops.cast(self.iterations + 1, "float32")
        decay = 1.0 - ops.power(time, -self.decay_exponent)  # of §7.2: 0 at the first update, so no bias to correct
        averages = self._averages[index]
        means = [ops.mean(square, -1), ops.mean(square, -2)] if len(averages) == 2 else [square]
        new = []
        for average, mean in zip(averages, means):
            new.append(decay * ops.convert_to_tensor(average) + (1.0 - decay) * mean)
            self.assign(average, new[-1])
        if len(new) == 1:
            return ops.rsqrt(new[0])
        row, column = new  # V̂ = R·C / mean of R (algorithm 4, with means where it has sums)
        relative = row / ops.mean(row, -1, keepdims=True)
        return ops.rsqrt(relative)[..., None] * ops.rsqrt(column)[..., None, :]

    def _root_mean_square(self, index, x):
        """Of a variable's numbers: a scalar, or [E, 1, ...] of one with rows by expert."""
        if not self._by_expert[index]:
            return ops.sqrt(ops.mean(ops.square(x)))
        return ops.sqrt(ops.mean(ops.square(x), axis=tuple(range(1, len(x.shape))), keepdims=True))

    def get_config(self):
        names = ("decay_exponent", "clip_threshold", "square_floor", "least_scale", "least_factored")
        return super().get_config() | {name: getattr(self, name) for name in names}
