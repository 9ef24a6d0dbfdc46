"""Counts the operations of a traced TensorFlow graph: what the arithmetic that is counted is held to."""


def operations_of_graph(model, spec, batch):
    """Multiplications and additions of all products and convolutions in the traced graph of a forward pass."""
    import tensorflow as tf

    concrete = tf.function(lambda: model.loss(batch, spec, training=False)[0], autograph=False).get_concrete_function()
    total = 0
    for operation in concrete.graph.get_operations():
        shapes = [tensor.shape for tensor in operation.inputs]
        made = operation.outputs[0].shape if operation.outputs else None
        if operation.type in ("MatMul", "BatchMatMulV2"):
            transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
            total += 2 * made.num_elements() * shapes[0][-2 if transposed else -1]
        elif operation.type == "Conv2D":
            total += 2 * made.num_elements() * shapes[1][:3].num_elements()
        elif operation.type == "DepthwiseConv2dNative":
            total += 2 * made.num_elements() * shapes[1][:2].num_elements()
    return total
