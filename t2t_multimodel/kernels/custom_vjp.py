"""Functions with a gradient that is written out instead of found by differentiation."""

import keras
from keras import ops

from t2t_multimodel.kernels.int8_weight import Int8Weight


def custom_vjp(forward, backward):
    """A function of arrays with a gradient of its own, the same on every backend.

    Args:
      forward: (*arrays) → (result, residuals): an array, or a tuple of arrays; and whatever `backward` needs.
      backward: (residuals, upstream) → the gradient of each argument, None where it has none; `upstream` has the
        structure of the result. A single argument's gradient comes without a tuple.
    """

    @ops.custom_gradient
    def with_gradient(*arrays):
        result, residuals = forward(*arrays)

        def gradient(*upstream):
            if not isinstance(result, tuple) or isinstance(upstream[0], (tuple, list)):
                (upstream,) = upstream  # of several results TensorFlow passes one argument each, JAX one tuple
            return backward(residuals, upstream)

        return result, gradient

    # Keras would not read the value of its variables.
    value_of = lambda x: x.value if isinstance(x, keras.Variable | Int8Weight) else x
    return lambda *arrays: with_gradient(*map(value_of, arrays))
