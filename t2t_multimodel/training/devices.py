"""Training on several devices with JAX: which device has which part of the weights and of a batch.

The devices are a mesh of two axes, data × expert. The rows of a batch are shared out over all of them. The experts'
weights are shared out over the axis expert; the other weights are whole on every device or, with `shard_weights`, in
parts too (FSDP, ZeRO: Rajbhandari et al. 2020, arXiv 1910.02054). XLA adds the communication (GSPMD: Xu et al. 2021,
arXiv 2105.04663).
"""

import contextlib
import math

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t2t_multimodel.errors import UserError
from t2t_multimodel.layers.experts.across_devices import EXPERTS

DATA, EXPERT = "data", "expert"
LEAST_SHARDED = 1024  # numbers of a variable that `shard_weights` cuts: of a smaller one the parts are not worth it


class Devices:
    """The mesh, and the place of every array on it; what Keras calls a distribution.

    Within `scope()` Keras asks it for the place of each variable that it makes; a large one is made in its parts.
    """

    def __init__(self, count, expert_devices=1, shard_weights=False, num_experts=0):
        """
        Args:
          count: devices to use, the first so many; a multiple of `expert_devices`.
          expert_devices: over how many of them the experts are shared out; divides `num_experts`.
          shard_weights: cut the other weights too.
        """
        grid = np.array(jax.devices()[:count]).reshape(count // expert_devices, expert_devices)
        self.mesh = Mesh(grid, (DATA, EXPERT))
        self.count, self.shard_weights, self.num_experts = count, shard_weights, num_experts
        self.slots_multiple = count // expert_devices
        self.rows = NamedSharding(self.mesh, PartitionSpec((DATA, EXPERT)))
        self.whole = NamedSharding(self.mesh, PartitionSpec())

    def get_variable_layout(self, variable):
        """Keras asks for the place of a variable that it is about to make; the optimiser's follow from the weights'."""
        return NamedSharding(self.mesh, PartitionSpec(*self._axes(variable.path, tuple(variable.shape))))

    def get_tensor_layout(self, path):
        """The place of the experts' slots, [E, slots, d]; None: XLA decides."""
        return NamedSharding(self.mesh, PartitionSpec(EXPERT, DATA)) if path == EXPERTS else None

    @contextlib.contextmanager
    def scope(self):
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def put(self, array):
        """A numpy array on the devices: its rows shared out where they can be shared evenly, else whole on each."""
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, self._of_rows(array), lambda index: array[index])

    def share_out(self, tree):
        """Results of a compiled program: the rows of each shared out as `put` does, decided while it is traced."""
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, self._of_rows(x)), tree)

    def __str__(self):
        experts = self.mesh.shape[EXPERT]
        named = jax.devices()[0].device_kind
        said = f"{self.count} devices ({named}): the rows of a batch are shared out over all of them"
        said += f", the experts over {experts}" if experts > 1 else ""
        return said + (", the other weights too" if self.shard_weights else "")

    def _of_rows(self, array):
        return self.rows if array.ndim and array.shape[0] and array.shape[0] % self.count == 0 else self.whole

    def _axes(self, path, shape):
        """The mesh's axes that each axis of a variable is cut by."""
        axes, left = [None] * len(shape), (DATA, EXPERT)
        experts = self.num_experts and len(shape) == 3 and shape[0] == self.num_experts
        if experts and path.split("/")[-2:-1] == ["experts"]:  # first and second of `MixtureOfExperts`
            axes[0], left = EXPERT, (DATA,)
        if self.shard_weights and math.prod(shape) >= LEAST_SHARDED:
            parts = math.prod(self.mesh.shape[name] for name in left)
            able = [i for i, size in enumerate(shape) if axes[i] is None and size % parts == 0]
            if able:
                axes[max(able, key=lambda i: shape[i])] = left
        return axes


def chosen_devices(settings, hparams):
    """The `Devices` that the settings of a run ask for; None: a single one, where nothing needs a place.

    Args:
      settings: `devices` (0: all that can be used), `expert_devices` (0: as many as divide both the devices and
        the experts), `shard_weights`.

    Raises:
      UserError: there are fewer devices, or the rows of a batch or the experts can't be shared evenly.
    """
    there, rows = len(jax.devices()), hparams.batch_rows_multiple
    count = settings.devices
    if count > there:
        raise UserError(f"--devices={count}, but JAX finds {there}; give at most {there}, or none to use all")
    if count and rows % count:
        raise UserError(
            f"--devices={count} can't share batches of a multiple of batch_rows_multiple={rows} rows evenly; give a "
            f"divisor of {rows}, or a new run --hparams=batch_rows_multiple={math.lcm(rows, count)}"
        )
    count = count or max(n for n in range(1, there + 1) if rows % n == 0)
    experts = hparams.num_experts if hparams.use_experts else 0
    able = math.gcd(count, experts) if experts else 1
    expert_devices = settings.expert_devices or able
    if able % expert_devices:
        raise UserError(
            f"--expert_devices={expert_devices} must divide both the {count} devices and the {experts} experts; "
            f"{able} is the most"
        )
    if count < there and not settings.devices:
        print(
            f"{count} of {there} devices {'is' if count == 1 else 'are'} used: batch_rows_multiple={rows} is no "
            f"multiple of more; a new run with --hparams=batch_rows_multiple={math.lcm(rows, there)} uses all"
        )
    if count == 1:
        if settings.shard_weights:
            raise UserError("--shard_weights needs several devices, and this run uses one; leave it out")
        return None
    return Devices(count, expert_devices, settings.shard_weights, experts)
