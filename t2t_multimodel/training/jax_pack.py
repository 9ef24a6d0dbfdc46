"""Small variables as one array between the programs: each array that a call takes or gives costs the host microseconds.

A model of full depth has a thousand variables with its optimizer's state, most of them vectors. Together they are one
flat array here, first in a list of which the others, those that are large or cut, follow as they are. A program takes
it apart and puts it together, which the device hardly notices.
"""

import math

import jax
import numpy as np

MOST = 4096  # numbers of a variable that is packed


class Pack:
    """Which of some variables are packed, and both forms of their values."""

    def __init__(self, variables, places=None, put=None):
        """
        Args:
          places: of the variables on several devices; one that is not whole on each is not packed.
          put: places an array whole on each of several devices; None: there is one.
        """
        able = [v.dtype == "float32" and math.prod(v.shape) <= MOST for v in variables]
        if places is not None:
            able = [fits and place.is_fully_replicated for fits, place in zip(able, places)]
        self._shapes = [tuple(v.shape) for v in variables]
        self._packed = [i for i, fits in enumerate(able) if fits]
        self._others = [i for i, fits in enumerate(able) if not fits]
        self._ends = np.cumsum([math.prod(self._shapes[i]) for i in self._packed]).tolist() or [0]
        self._put = put

    def place_of(self, index):
        """Where in the packed list the variable of an `index` is, which is not a small one."""
        return 1 + self._others.index(index)

    def packed_like(self, each, flat):
        """What belongs to the arrays of the packed list: `flat` to the first, of `each` (of all variables) the rest."""
        return [flat, *(each[i] for i in self._others)]

    def shapes(self, variables):
        """The packed list without values."""
        shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]
        return self.packed_like(shapes, jax.ShapeDtypeStruct((self._ends[-1],), np.float32))

    def join(self, values, concatenate=jax.numpy.concatenate):
        """The packed list of the values of all variables."""
        small = [values[i].reshape(-1) for i in self._packed]
        return self.packed_like(values, concatenate(small) if small else np.zeros(0, np.float32))

    def split(self, packed):
        """The values of all variables of a packed list."""
        flat, *others = packed
        values = dict(zip(self._others, others))
        starts = [0, *self._ends[:-1]]
        for i, start, end in zip(self._packed, starts, self._ends):
            values[i] = flat[start:end].reshape(self._shapes[i])
        return [values[i] for i in range(len(self._shapes))]

    def join_on_host(self, values):
        """As `join`, outside of a program: nothing is compiled."""
        values = list(values)
        for i in self._packed:
            values[i] = np.asarray(values[i])
        flat, *others = self.join(values, np.concatenate)
        # (`array` copies: memory of NumPy's could not be used again.)
        return [self._put(flat) if self._put else jax.numpy.array(flat), *others]

    def split_on_host(self, packed):
        """As `split`, outside of a program."""
        flat = np.array(packed[0])  # a copy: the array's own memory will be used again
        values = self.split([flat, *packed[1:]])
        for i in self._packed if self._put else ():
            values[i] = self._put(values[i])
        return values
