"""The one place that selects which variant of a kernel runs: by device, or the plain formula everywhere.

`T2T_KERNELS=reference` runs the plain formulas; `T2T_KERNELS=fast`, the default, the variants made for the device;
`T2T_KERNELS=portable` those of them that any device of the backend runs, for programs that are passed on.
The selection takes place while a program is traced, so a change of the variable does not reach compiled programs.
"""

import functools
import os

import keras

from t2t_multimodel.errors import unknown_name

SETTINGS = ("fast", "portable", "reference")
EVERYWHERE = "everywhere"


class Kernel:
    """A function that exists as a plain formula, `reference`, and as faster variants with the same signature.

    The name of a variant says where it runs, the most precise name first: a device ("tensorflow_cpu", "jax_gpu"), all
    devices of a backend ("tensorflow"), or "everywhere". Where no variant is made for the device the reference runs.
    """

    def __init__(self, reference, **variants):
        functools.update_wrapper(self, reference)
        self.reference, self.variants = reference, variants

    def __call__(self, *arguments, **options):
        return self.selected()(*arguments, **options)

    def add(self, where, variant):
        """One more variant: of operations that `keras.ops` lacks, which the trainer's adapter of a backend has."""
        self.variants[where] = variant

    def selected(self):
        """The function that a call runs."""
        chosen = setting()
        if chosen == "reference":
            return self.reference
        backend, kind = device()
        of_device = (f"{backend}_{kind}",) if chosen == "fast" else ()
        names = (*of_device, backend, EVERYWHERE)
        return next((self.variants[name] for name in names if name in self.variants), self.reference)


def setting():
    """What the environment variable T2T_KERNELS says."""
    value = os.environ.get("T2T_KERNELS") or SETTINGS[0]
    if value not in SETTINGS:
        raise unknown_name("value of T2T_KERNELS", value, SETTINGS)
    return value


@functools.cache
def device():
    """(backend, "cpu" or "gpu" or "tpu"): what Keras computes with, and the kind of its default device."""
    return keras.backend.backend(), keras.distribution.list_devices()[0].split(":")[0]
