"""Looking into a forward pass: attention weights and gates, noted by the layers themselves while somebody looks.

So there is no second forward pass to keep in step with the first; where nobody looks, nothing is computed for it.
"""

import contextlib
import contextvars

_noted = contextvars.ContextVar("noted", default=None)


@contextlib.contextmanager
def capture_intermediates():
    """Collects what layers note inside the block: {name: tensor}. Not for use inside a compiled function."""
    noted = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def sow(weight, compute):
    """Notes `compute()` under the name of the layer that owns `weight`; does nothing unless somebody looks."""
    noted = _noted.get()
    if noted is not None:
        noted["/".join(weight.path.split("/")[1:-1])] = compute()  # without the model's name and the weight's


def capturing():
    """Whether what layers note is collected now."""
    return _noted.get() is not None
