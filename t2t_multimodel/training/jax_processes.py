"""Several processes on JAX: the one place that starts `jax.distributed`, and that looks at its devices by process."""

import collections
import os
import socket
import sys
import time

import jax

from t2t_multimodel.errors import UserError

_SECONDS_TO_FIND_EACH_OTHER, _SECONDS_A_TRY = 300, 5


def start(launch):
    """Has this process be one of several, before anything of JAX computes; waits for all of them.

    Args:
      launch: a `Launch`.

    Returns:
      (its number, how many there are, the client of the coordination service).

    Raises:
      UserError: what runs the processes is not found, or they don't find each other.
    """
    from jax._src import distributed  # the client has no public name; Orbax takes it from here too

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # On a CPU the collectives of one program would wait for threads of each other.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM, which the trainer heeds itself
    if launch.coordinator:
        (_wait_for if launch.process_id else _check_free)(launch.coordinator)
    try:
        jax.distributed.initialize(
            launch.coordinator or None,
            launch.num_processes,
            launch.process_id,
            cluster_detection_method=None if launch.distributed else "deactivate",
            initialization_timeout=_SECONDS_TO_FIND_EACH_OTHER,
        )
    except (ValueError, TypeError, KeyError) as error:
        if launch.distributed:
            raise UserError(
                f"--distributed=auto: JAX finds neither SLURM nor Open MPI nor Kubernetes here "
                f"({_one_line(error)}); give --coordinator, --num_processes and --process_id"
            ) from error
        raise UserError(f"--coordinator={launch.coordinator}: {_one_line(error)}") from error
    except RuntimeError as error:
        where = f"--coordinator={launch.coordinator}" if launch.coordinator else f"--distributed={launch.distributed}"
        raise UserError(
            f"{where}: the processes don't find each other ({_one_line(error)[:300]}); see that all are started, that "
            "the port is free, and that the machines reach each other"
        ) from error
    return jax.process_index(), jax.process_count(), distributed.global_state.client


def _wait_for(address):
    """Returns when process 0 listens; JAX would end this process with a stack trace where it never does."""
    host, _, port = address.rpartition(":")
    until, said = time.monotonic() + _SECONDS_TO_FIND_EACH_OTHER, False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_A_TRY).close()
            return
        except OSError as error:
            left = until - time.monotonic()
            if left < 0:
                raise UserError(
                    f"--coordinator={address}: process 0 does not listen there ({error.strerror or error}), for "
                    f"{_SECONDS_TO_FIND_EACH_OTHER} s; start it too, and see that this machine reaches that one"
                ) from None
            if left < _SECONDS_TO_FIND_EACH_OTHER - _SECONDS_A_TRY and not said:
                print(f"waiting for process 0 at {address} ({error.strerror or error})", file=sys.stderr, flush=True)
                said = True
            time.sleep(0.2)


def _check_free(address):
    """Raises `UserError` where another program listens at the port that process 0 needs, of which JAX would crash."""
    try:
        socket.create_server(("", int(address.rpartition(":")[2]))).close()
    except OSError as error:
        raise UserError(
            f"--coordinator={address}: process 0 can't listen at this port ({os.strerror(error.errno or 0)}); give "
            "another"
        ) from None


def check_devices():
    """Raises `UserError` where the devices of the processes can't share the work."""
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        said = ", ".join(f"process {i} has {n}" for i, n in sorted(counts.items()))
        raise UserError(f"the processes have unequal numbers of devices ({said}); give each the same number")
    if jax.devices()[0].platform == "cpu" and len(jax.local_devices()) > 1:
        raise UserError(
            f"with several processes on CPUs each has one device, and this one has {len(jax.local_devices())}; leave "
            "--xla_force_host_platform_device_count out of XLA_FLAGS, and start more processes"
        )


def stop():
    """Ends what `start` began; waits until all processes do."""
    jax.distributed.shutdown()


def _one_line(error):
    return " ".join(str(error).split())
