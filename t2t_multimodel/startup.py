"""How a process starts: the environment that keras and tensorflow read when imported, a quiet import, memory."""

import contextlib
import ctypes
import os
import sys
import tempfile

BACKENDS = ("tensorflow", "jax")


def set_environment(backend=None):
    """Sets what must stand in the environment before keras and tensorflow are imported.

    Args:
      backend: what Keras computes with; None: what `KERAS_BACKEND` says, else tensorflow.
    """
    os.environ["KERAS_BACKEND"] = backend or os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    # Notices, warnings and remarks on the processor at the level of errors; real errors come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Two operations at a time, each with half of the processors: most products here are too small to share out, while
    # half of a backward pass does not wait for the other. (Measured on two processors: docs/performance.md.)
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, processors() // 2)))


def processors():
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_tensorflow():
    """Imports tensorflow and finds its devices without the notices that it writes before it reads any setting."""
    if "tensorflow" not in sys.modules:
        with hold_back_standard_error():
            import tensorflow

            tensorflow.config.list_physical_devices()  # without a GPU it complains at the first look for one


@contextlib.contextmanager
def hold_back_standard_error():
    """Keeps what is written to standard error meanwhile, by C++ too, to itself; if the body raises, it is let out."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held_back.seek(0)
            os.write(before, held_back.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def give_back_memory():
    """Hands freed memory back to the system, where the C library can (glibc).

    TensorFlow takes more than 100 MiB for a moment to make a program of a traced function; they would stay with the
    process, in pieces that its arrays find no use for.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
