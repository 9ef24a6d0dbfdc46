"""Experts on many devices: each device has some of the experts, and works on some of their slots.

The placement is that of Keras's current distribution (`keras.distribution`), where it says one for "experts";
`training/devices.py` makes it. Without one nothing happens here.
"""

import keras

EXPERTS = "experts"  # what `Distribution.get_tensor_layout` is asked for


def even_slots(slots):
    """`slots` rounded up, so that the devices share them evenly; the further ones stay empty."""
    multiple = getattr(keras.distribution.distribution(), "slots_multiple", 1)
    return slots if multiple == 1 else -(-slots // multiple) * multiple


def across_devices(x):
    """x [E, slots, d], placed where its experts are. Without this every device would compute all experts."""
    distribution = keras.distribution.distribution()
    layout = distribution.get_tensor_layout(EXPERTS) if distribution is not None else None
    return x if layout is None else keras.distribution.distribute_tensor(x, layout)
