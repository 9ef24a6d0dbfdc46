"""Variants of kernels by operations that TensorFlow has and `keras.ops` has not."""

import tensorflow as tf

from t2t_multimodel.kernels.cross_entropy import put_along_last_axis


def _put_in_place(array, index, values):
    """`put_along_last_axis` in the memory of `array`. TensorFlow's scatter makes a copy each time, of all logits."""
    places = tf.reshape(index, [-1])
    rows, size = tf.size(places), array.shape[-1]
    fits = tf.debugging.Assert(rows <= (2**31 - 1) // size, ["a batch of 2³¹ logits; make batches smaller", rows])
    with tf.control_dependencies([] if fits is None else [fits]):
        places = tf.range(rows) * size + places
    flat = tf.reshape(array, [-1, 1])
    written = tf.raw_ops.InplaceUpdate(x=flat, i=places, v=tf.reshape(values, [-1, 1]))
    return tf.reshape(written, tf.shape(array))


def add():
    """Makes them variants of their kernels."""
    put_along_last_axis.add("tensorflow_cpu", _put_in_place)
