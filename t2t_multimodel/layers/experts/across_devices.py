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


def by_shard(function, groups, rows, weights):
    """`function(groups, send, bring_back, *rows, *weights)` on each device, for its part of the rows and its experts.

    Args:
      function: called with how many of the groups a device has; `send` takes x [E, slots, d] to the devices of the
        experts, and `bring_back` what they made of it to those of the rows.
      groups: of the rows, a multiple of the devices. rows: arrays whose first axis is that of tokens.
      weights: arrays whose first axis is that of experts.

    Returns:
      what `function` does, arrays of which the first axis is that of tokens too.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        same = lambda x: x
        return function(groups, same, same, *rows, *weights)
    return distribution.by_shard(function, groups, rows, weights)


def across_devices(x):
    """x [E, slots, d], placed where its experts are. Without this every device would compute all experts."""
    distribution = keras.distribution.distribution()
    layout = distribution.get_tensor_layout(EXPERTS) if distribution is not None else None
    return x if layout is None else keras.distribution.distribute_tensor(x, layout)
