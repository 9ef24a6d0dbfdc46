"""Intermediates of a forward pass, attention weights and gates, which the layers give away while they are captured.

So there is no second forward pass to keep in step with the first; outside of a capture nothing is computed for it.
"""

import contextlib
import contextvars

_captured = contextvars.ContextVar("captured", default=None)


@contextlib.contextmanager
def capture_intermediates():
    """Collects what layers `sow` inside the block: {name: tensor}. Not for use inside a compiled function."""
    captured = {}
    token = _captured.set(captured)
    try:
        yield captured
    finally:
        _captured.reset(token)


def sow(weight, compute):
    """Adds `compute()` under the name of the layer that owns `weight`; does nothing outside of a capture."""
    captured = _captured.get()
    if captured is not None:
        captured["/".join(weight.path.split("/")[1:-1])] = compute()  # without the model's name and the weight's


def capturing():
    """Whether intermediates are being captured."""
    return _captured.get() is not None
