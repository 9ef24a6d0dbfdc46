"""The operations that make the layers fast, each as a `Kernel`: the plain formula, and faster variants by device.

A kernel is called like a function; `select.py` decides which variant runs. The formula is `kernel.reference`, and
tests hold every variant to its values and gradients. `custom_vjp.py` writes out gradients, `shapes.py` keeps shapes.
"""
