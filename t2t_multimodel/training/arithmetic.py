"""What a model's arithmetic is: multiplications and additions of a forward pass and of a training step, as counted.

Counted is what the model is, not how it is computed: products and convolutions at two operations for a multiplication
and an addition, an expert for the tokens sent to it alone, taps at the outputs that are kept, nothing for padding.
Norms, softmaxes, sums, Fourier transforms and the optimiser are left out: they are a few operations for each number. A
training step is three forward passes: the gradients of what goes in and of the weights are a product each.

`parts` makes the same walk as `models/`: change both together (tests/test_benchmarks.py and tests/test_arithmetic.py
compare the count with the operations of the traced graph).
"""

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.input.plan import BatchPlan
from t2t_multimodel.modalities.base import Modality
from t2t_multimodel.modalities.operations import conv_step, product

STEP = 3  # forward passes that a training step is


def check(spec):
    """Raises `UserError` for a problem whose arithmetic is not counted."""
    for side, modality, counts in (
        ("input", spec.inputs, "encoder_operations"),
        ("target", spec.targets, "head_operations"),
    ):
        if getattr(type(modality), counts) is getattr(Modality, counts):
            raise UserError(
                f"{spec.name}: the arithmetic of an {side} that is {modality.modality_name} is not counted, since its "
                f"class defines no {counts}; leave the problem out"
            )


def is_counted(spec):
    """Whether the arithmetic of a problem is counted."""
    try:
        check(spec)
    except UserError:
        return False
    return True


def of_update(hparams, spec, split):
    """Operations of an update from one batch of a problem, a mean over the first batches of its training split.

    Args: split: of the problem's `ExampleStore`; its lengths alone are read.
    """
    plan = BatchPlan(split, spec, hparams, seed=0)
    batches = plan.window(0, 0)
    rows = np.concatenate(batches)
    lengths = [
        np.asarray(getattr(split, f"{side}_length"))[rows] + modality.end_of_sequence if modality.variable_length else 1
        for side, modality in (("input", spec.inputs), ("target", spec.targets))
    ]
    counted = sum(np.broadcast_to(part, rows.shape).sum() for part in parts(hparams, spec, 1, *lengths, True).values())
    return STEP * float(counted) / len(batches)


def parts(hparams, spec, rows, inputs, targets, training=False):
    """{part: operations} of a forward pass.

    Args:
      rows: examples. inputs, targets: the length of each: ids with end-of-sequence, samples of sound; 1 where lengths
        do not vary. Arrays of several lengths give arrays of operations.
    """
    check(spec)
    h, counted = hparams, {}
    operations, length, grid = spec.inputs.encoder_operations(h, rows, inputs)
    counted[f"{spec.inputs.modality_name} net"] = operations
    head = spec.targets.head_operations(h, rows, length, grid, targets)
    counted[f"{spec.targets.modality_name} head"] = head
    counted["encoder"] = _blocks(h, h.encoder_blocks, rows * length)
    counted["encoder"] += h.encoder_experts * experts(h, rows * length, training)
    if not spec.targets.uses_vocabulary:
        return counted
    written = targets
    counted["mixer"] = _blocks(h, h.attention_blocks + h.mixer_blocks, rows * written)
    counted["mixer"] += source(h, rows, written, length)
    if h.use_attention:
        counted["mixer"] += attention(h, rows, written, written)
    counted["decoder"] = _blocks(h, h.decoder_blocks, rows * written)
    counted["decoder"] += (h.decoder_attentions or h.decoder_blocks) * source(h, rows, written, length)
    counted["decoder"] += h.decoder_experts * experts(h, rows * written, training)
    if h.ctc_weight and spec.inputs.in_order:
        counted["CTC"] = product(rows * length, h.hidden_size, spec.targets.vocabulary_size)
    return counted


def _blocks(h, count, tokens):
    """Convolution blocks of the body."""
    return count * conv_block(h, tokens) if h.use_convolutions else 0


def conv_block(h, tokens):
    size = h.hidden_size
    return 2 * sum(conv_step(tokens, size, size, taps) for taps in (h.small_kernel, h.large_kernel))


def attention(h, rows, queries, keys):
    """Projections, logits and weighted sums. Causal attention counts whole, as it is computed."""
    size = h.hidden_size
    projections = 2 * product(rows * queries, size, size) + 2 * product(rows * keys, size, size)
    return projections + 2 * product(rows * queries, size, keys)


def source(h, rows, written, length):
    """The target's reading of the source: attention, or the ablation's two products."""
    if h.use_attention:
        return attention(h, rows, written, length)
    return product(rows * length, h.hidden_size, h.hidden_size) + product(rows, h.hidden_size, h.hidden_size)


def experts(h, tokens, training):
    """The gates (with their noise in training), and the k experts of each token."""
    if not h.use_experts:
        return 0
    gates = product(tokens, h.hidden_size, h.num_experts) * (2 if training else 1)
    return gates + h.experts_per_token * 2 * product(tokens, h.hidden_size, h.expert_filter_size)
