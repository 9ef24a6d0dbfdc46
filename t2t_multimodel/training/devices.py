"""Training on several devices with JAX: which device has which part of the weights and of a batch.

The devices are a mesh of two axes, data × expert. The rows of a batch are shared out over all of them. The experts'
weights are shared out over the axis expert; the other weights are whole on every device or, with `shard_weights`, in
parts too (FSDP, ZeRO: Rajbhandari et al. 2020, arXiv 1910.02054). XLA adds the communication (GSPMD: Xu et al. 2021,
arXiv 2105.04663). The devices may be those of several processes: each puts its own rows of a batch on its own.
"""

import contextlib
import functools
import math
import re

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t2t_multimodel.errors import UserError
from t2t_multimodel.layers.experts.across_devices import EXPERTS
from t2t_multimodel.training.processes import current

DATA, EXPERT = "data", "expert"
LEAST_MADE_IN_PARTS = 1 << 28  # bytes of a variable that no process makes whole, where there are several
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
        # By process, so that the rows of each are one part of a batch.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))[:count]
        self.mesh = Mesh(np.array(devices).reshape(count // expert_devices, expert_devices), (DATA, EXPERT))
        self.processes = len({device.process_index for device in devices})
        self.count, self.shard_weights, self.num_experts = count, shard_weights, num_experts
        self.own = count // self.processes  # devices of this process
        self.slots_multiple = count // expert_devices
        self.rows = NamedSharding(self.mesh, PartitionSpec((DATA, EXPERT)))
        self.whole = NamedSharding(self.mesh, PartitionSpec())
        self._most = jax.jit(lambda numbers: numbers.max(), out_shardings=self.whole)

    def get_variable_layout(self, variable):
        """Keras asks for the place of a variable that it is about to make; the optimiser's follow from the weights'.

        With several processes a small one is made by each of them, and put in its place by `spread`.
        """
        shape = tuple(variable.shape)
        if self.processes > 1 and 4 * math.prod(shape) < LEAST_MADE_IN_PARTS:
            return None
        return self._place(variable)

    def get_tensor_layout(self, path):
        """The place of the experts' slots, [E, slots, d]; None: XLA decides."""
        return NamedSharding(self.mesh, PartitionSpec(EXPERT, DATA)) if path == EXPERTS else None

    def by_shard(self, function, groups, rows, weights):
        """As `across_devices.by_shard`; experts' parts of slots go around within each row of the mesh's axis expert."""
        send = lambda x: jax.lax.all_to_all(x, EXPERT, split_axis=0, concat_axis=1, tiled=True)
        bring_back = lambda y: jax.lax.all_to_all(y, EXPERT, split_axis=1, concat_axis=0, tiled=True)
        local = functools.partial(function, groups // self.count, send, bring_back)
        of_rows, of_experts = self.rows.spec, PartitionSpec(EXPERT)
        places = (*(of_rows for _ in rows), *(of_experts for _ in weights))
        mapped = jax.shard_map(local, mesh=self.mesh, in_specs=places, out_specs=of_rows, check_vma=False)
        return mapped(*rows, *weights)

    def held(self, variable):
        """The shape of what one device has of a variable; of one that `backend.abstractly` made too."""
        return (variable._layout or self._place(variable)).shard_shape(tuple(variable.shape))

    def spread(self, variables):
        """Puts variables that each process has whole in their places. Their values are the same in all processes."""
        for variable in variables if self.processes > 1 else ():
            place = self._place(variable)
            if not variable.value.sharding.is_equivalent_to(place, len(variable.shape)):
                variable.assign(_placed(np.asarray(variable.value), place))

    @contextlib.contextmanager
    def scope(self):
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    @contextlib.contextmanager
    def making(self):
        """The same where variables are made and restored. What each of several processes makes whole is on its host."""
        with self.scope(), contextlib.ExitStack() as stack:
            if self.processes > 1 and jax.devices()[0].platform != "cpu":
                stack.enter_context(jax.default_device(jax.local_devices(backend="cpu")[0]))
            yield

    def put(self, array):
        """A numpy array on the devices: its rows shared out where they can be shared evenly, else whole on each."""
        array = np.asarray(array)
        return _placed(array, self._of_rows(array))

    def put_part(self, array):
        """The same of an array of which each process has its own rows only, one of equal parts in order."""
        shape = (len(array) * self.processes, *array.shape[1:])
        return jax.make_array_from_process_local_data(self.rows, np.asarray(array), shape)

    def most(self, number):
        """The largest of the whole numbers that the processes give, in all of them; each waits for the others."""
        return int(self._most(self.put_part(np.full(self.own, number, np.int32))))

    def share_out(self, tree):
        """Results of a compiled program: the rows of each shared out as `put` does, decided while it is traced."""
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, self._of_rows(x)), tree)

    def __str__(self):
        experts = self.mesh.shape[EXPERT]
        named = jax.devices()[0].device_kind
        several = f" of {self.processes} processes" if self.processes > 1 else ""
        said = f"{self.count} devices{several} ({named}): the rows of a batch are shared out over all of them"
        said += f", the experts over {experts}" if experts > 1 else ""
        return said + (", the other weights too" if self.shard_weights else "")

    def _place(self, variable):
        return NamedSharding(self.mesh, PartitionSpec(*self._axes(variable.path, tuple(variable.shape))))

    def _of_rows(self, array):
        return self.rows if array.ndim and array.shape[0] and array.shape[0] % self.count == 0 else self.whole

    def _axes(self, path, shape):
        """The mesh's axes that each axis of a variable is cut by."""
        axes, left = [None] * len(shape), (DATA, EXPERT)
        experts = self.num_experts and len(shape) == 3 and shape[0] == self.num_experts
        # First and second of `MixtureOfExperts`, and what an optimizer keeps of them: "adam/…_experts_first_momentum".
        if experts and "experts" in re.split("[/_]", path):
            axes[0], left = EXPERT, (DATA,)
        if self.shard_weights and math.prod(shape) >= LEAST_SHARDED:
            parts = math.prod(self.mesh.shape[name] for name in left)
            able = [i for i, size in enumerate(shape) if axes[i] is None and size % parts == 0]
            if able:
                axes[max(able, key=lambda i: shape[i])] = left
        return axes


def _placed(array, place):
    return jax.make_array_from_callback(array.shape, place, lambda index: array[index])


def chosen_devices(settings, hparams):
    """The `Devices` that the settings of a run ask for; None: a single one, where nothing needs a place.

    Args:
      settings: `devices` (0: all that can be used), `expert_devices` (0: as many as divide both the devices and
        the experts), `shard_weights`.

    Raises:
      UserError: there are fewer devices, or the rows of a batch or the experts can't be shared evenly.
    """
    there, processes, count = len(jax.devices()), jax.process_count(), settings.devices
    rows, shared, better = _shared(hparams)
    if processes > 1 and not current().several:
        raise UserError(f"JAX runs in {processes} processes; several train by t2t-trainer only (docs/devices.md)")
    if processes > 1 and count not in (0, there):
        raise UserError(f"--devices={count}: {processes} processes use all their {there} devices; leave it out")
    if processes > 1 and rows % there:
        raise UserError(
            f"the {there} devices of {processes} processes can't share {shared} evenly; start a new run with "
            f"{better(there)}"
        )
    if count > there:
        raise UserError(f"--devices={count}, but JAX finds {there}; give at most {there}, or none to use all")
    if count and rows % count:
        raise UserError(
            f"--devices={count} can't share {shared} evenly; give a divisor of {rows}, or a new run {better(count)}"
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
            f"{count} of {there} devices {'is' if count == 1 else 'are'} used: more can't share {shared} evenly; a new "
            f"run with {better(there)} uses all"
        )
    if count == 1:
        if settings.shard_weights:
            raise UserError("--shard_weights needs several devices, and this run uses one; leave it out")
        return None
    return Devices(count, expert_devices, settings.shard_weights, experts)


def _shared(hparams):
    """What devices must share evenly: (the number that theirs must divide, what it is, `better(devices)`: a flag)."""
    rows, groups = hparams.batch_rows_multiple, hparams.expert_groups if hparams.use_experts else 1
    if groups == 1:
        better = lambda devices: f"--hparams=batch_rows_multiple={math.lcm(rows, devices)}"
        return rows, f"batches of a multiple of batch_rows_multiple={rows} rows", better

    def better(devices):
        more = math.lcm(groups, devices)
        return f"--hparams=expert_groups={more},batch_rows_multiple={math.lcm(rows, more)}"

    return groups, f"expert_groups={groups} groups of rows", better
