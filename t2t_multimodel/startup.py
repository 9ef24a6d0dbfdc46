"""How a process starts: the environment that keras and tensorflow read when imported, a quiet import, memory."""

import contextlib
import ctypes
import gc
import os
import sys
import tempfile

from t2t_multimodel.compile_cache import set_compile_cache
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.json_files import DamagedFile, MissingFile, OneOf, read_json

BACKENDS = ("tensorflow", "jax")
# What the models and their checkpoints are made for, as Keras's settings file calls it.
_KERAS_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last", "nnx_enabled": False}
# TensorFlow's converters and Keras's pictures import these where they are installed: a third of the time of the import.
_UNUSED = ("jax", "matplotlib")
_of_a_command = False


def set_environment(backend=None):
    """Sets what must stand in the environment before keras and tensorflow are imported.

    Args:
      backend: what Keras computes with; None: what `KERAS_BACKEND` says, else tensorflow.

    Raises:
      UserError: there is no such backend, or Keras is imported already, with other settings than the models need.
    """
    backend = backend or os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS, "in the environment variable KERAS_BACKEND, or --backend")
    os.environ["KERAS_BACKEND"] = backend
    if "keras" in sys.modules:
        _check_keras()
    else:
        _pass_over_keras_settings()
    if backend == "jax":
        set_compile_cache()
    # Notices, warnings and remarks on the processor at the level of errors; real errors come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Two operations at a time, each with half of the processors: most products here are too small to share out, while
    # half of a backward pass does not wait for the other. (Measured on two processors: docs/performance.md.)
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, processors() // 2)))


def _check_keras():
    import keras

    config = keras.config
    if config.backend() not in BACKENDS:
        raise UserError(
            f"keras was imported with backend {config.backend()}; set KERAS_BACKEND to {' or '.join(BACKENDS)} before "
            "its import"
        )
    for name in ("floatx", "image_data_format"):
        value = getattr(config, name)()
        if value != _KERAS_SETTINGS[name]:
            raise UserError(
                f"keras has {name}={value!r}; call keras.config.set_{name}({_KERAS_SETTINGS[name]!r}): other values "
                "are not supported"
            )


def _pass_over_keras_settings():
    """Has Keras read another folder than ~/.keras, where the file keras.json there would change or end its import."""
    for name in ("KERAS_NNX_ENABLED", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        os.environ.pop(name, None)
    home = os.path.expanduser("~")
    folder = os.environ.get("KERAS_HOME")
    if folder is None:  # as Keras itself chooses
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    own = os.path.join(folder, "t2t_multimodel")
    # In the null device there is no folder, and none can be made.
    chosen = next((one for one in (folder, own) if _has_usual_settings(one)), os.path.join(os.devnull, "keras"))
    if chosen != folder:
        os.environ["KERAS_HOME"] = chosen


def _has_usual_settings(folder):
    schema = {f"{name}?": OneOf(value) for name, value in _KERAS_SETTINGS.items()}
    try:
        read_json(os.path.expanduser(os.path.join(folder, "keras.json")), schema)
    except MissingFile:
        return True
    except DamagedFile:
        return False
    return True


def processors():
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_backend():
    """Imports what Keras computes with, quietly. With JAX TensorFlow stays out: it would take a GPU's memory."""
    if os.environ.get("KERAS_BACKEND", BACKENDS[0]) == "tensorflow":
        import_tensorflow()


def import_tensorflow():
    """Imports tensorflow and finds its devices without the notices that it writes before it reads any setting."""
    if "tensorflow" not in sys.modules:
        with hold_back_standard_error(), _not_imported(_UNUSED if _of_a_command else ()), _no_garbage_collected():
            import tensorflow

            tensorflow.config.list_physical_devices()  # without a GPU it complains at the first look for one


def this_process_is_a_command():
    """From here on what is imported need not serve other code than this package's."""
    global _of_a_command
    _of_a_command = True


@contextlib.contextmanager
def _not_imported(packages):
    """Has imports of these fail, as if they were not installed; those that are there stay."""
    backend = os.environ.get("KERAS_BACKEND", BACKENDS[0])
    finder = _Absent({name for name in packages if name not in sys.modules and name != backend})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _no_garbage_collected():
    """An import makes a million objects that stay, and is a third faster where they are not looked through; nor are
    they later, in a command.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _of_a_command:
            gc.freeze()
        if collected:
            gc.enable()


class _Absent:
    def __init__(self, packages):
        self._packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


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
