"""Dispatch: tokens to their experts and back, in the order of the assignments (token · K + choice).

With a capacity an expert takes no more than its share of a batch (training). Its tokens are sorted rows of any number
(ragged), or stand in as many slots as every other expert has, some of them empty (padded). Without a capacity
(evaluation, decoding) they are cut into small blocks and nothing is dropped.
"""

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from t2t_multimodel.kernels.ends_passed import ends_passed
from t2t_multimodel.kernels.gather import gather_rows
from t2t_multimodel.kernels.select import Kernel
from t2t_multimodel.layers.experts.across_devices import even_slots
from t2t_multimodel.layers.experts.combine import combine_blocks, combine_choices

MAX_RAGGED_EXPERTS = 64  # experts that are called one after the other; more of them are faster as one padded product
LEAST_CAPACITY = 4


@dataclass(frozen=True)
class Assignments:
    """N·K assignments of tokens to experts, sorted by expert; those with gate 0 come last, as expert number E.

    expert: [N·K]. order: [N·K] assignment numbers, sorted. counts, starts: [E], how many an expert has and where in
    `order` they begin.
    """

    expert: Any
    order: Any
    counts: Any
    starts: Any
    choices: int  # K


def sort_by_expert(routing):
    """The `Assignments` of a `Routing`."""
    experts = routing.num_experts
    flat = ops.reshape(ops.where(routing.gates > 0, routing.ids, experts), [-1])
    count = ops.shape(flat)[0]
    order = ops.argsort(flat * count + ops.arange(count, dtype="int32"))  # keys are distinct: the order is definite
    counts = ops.segment_sum(ops.ones_like(flat), flat, num_segments=experts + 1)[:experts]
    return Assignments(flat, order, counts, ops.cumsum(counts) - counts, routing.ids.shape[1])


# ---- With a capacity


def capacity_dispatch(tokens, routing, padding_mask, experts, capacity_factor):
    """Each expert takes its first `capacity` tokens in their order in the batch.

    Args: tokens [N, d]; padding_mask [N, 1]; experts, `Experts`; capacity_factor: capacity over an even share.

    Returns:
      y [N, d], without the choices that found their expert full; and the fraction of such choices.
    """
    assignments = sort_by_expert(routing)
    capacity = capacity_of(ops.shape(assignments.expert)[0], capacity_factor, experts.num_experts)
    y, kept = within_capacity(tokens, assignments, routing.gates, capacity, experts, _dispatch)
    return y, dropped_fraction(kept, padding_mask, assignments.choices)


def within_capacity(tokens, assignments, gates, capacity, experts, dispatch):
    """(y [N, d], kept [N·K]: whether the expert of an assignment took it); `dispatch`: `padded` or `_ragged`."""
    # From an expert's rows back to tokens: the rank of an assignment among those of its expert.
    expert = ops.minimum(assignments.expert, experts.num_experts - 1)
    rank = ops.cast(ops.argsort(assignments.order), "int32") - ops.take(assignments.starts, expert, axis=0)
    kept = ops.logical_and(assignments.expert < experts.num_experts, rank < capacity)
    y = dispatch(tokens, assignments, capacity, expert, rank, kept, experts)
    return combine_choices(y, gates, kept), kept


def dropped_fraction(kept, padding_mask, choices):
    """The share of the assignments of real tokens that no expert took."""
    routed = ops.maximum(ops.sum(padding_mask) * choices, 1.0)
    return 1.0 - ops.sum(ops.cast(kept, "float32")) / routed


def padded(tokens, assignments, capacity, expert, rank, kept, experts, slots=None):
    """What the experts make of their tokens, with as many slots for every expert, used or not: [N·K, d].

    An assignment that no expert takes gets some row that means nothing; its gate is 0.

    Args: expert [N·K]: that of each assignment; rank [N·K]: its number among those of its expert; kept [N·K]: whether
      it is within the capacity; slots: of each expert, None: as many as are needed and devices share evenly.
    """
    counts, slots = ops.minimum(assignments.counts, capacity), slots or even_slots(_slots(assignments.counts, capacity))
    order, choices, number = assignments.order, assignments.choices, experts.num_experts
    place = expert * slots + rank
    slot = ops.arange(slots, dtype="int32")[None]
    used = slot < counts[:, None]  # [E, slots]
    assignment = ops.take(order, ops.minimum(assignments.starts[:, None] + slot, ops.shape(order)[0] - 1), axis=0)
    assignment = ops.reshape(assignment, [-1])
    copies = ops.reshape(ops.where(kept, place, number * slots), [-1, choices])
    # An unused slot gets a row of zeros, the one after all tokens.
    rows = ops.where(ops.reshape(used, [-1]), assignment // choices, ops.shape(tokens)[0])
    after = [[0, 1], [0, 0]]
    x = gather_rows(ops.pad(tokens, after), rows, ops.pad(copies, after), gaps=True)
    y = experts.padded(ops.reshape(x, [number, -1, tokens.shape[-1]]))  # [E, slots, d]
    # The gradient of an unused slot is another token's: it reaches no weight because the slot's x is 0.
    return gather_rows(ops.reshape(y, [-1, tokens.shape[-1]]), ops.where(kept, place, 0), assignment[:, None])


def _ragged(tokens, assignments, capacity, expert, rank, kept, experts):
    """The same with one expert's rows after the other's, none of them empty; zero where no expert takes one."""
    counts = ops.minimum(assignments.counts, capacity)
    place = ops.take(ops.cumsum(counts) - counts, expert, axis=0) + rank
    slices = zip(ops.unstack(assignments.starts), ops.unstack(counts))
    assignment = ops.concatenate([ops.slice(assignments.order, [start], [count]) for start, count in slices], axis=0)
    place = ops.where(kept, place, ops.shape(assignment)[0])
    copies = ops.reshape(place, [-1, assignments.choices])
    x = gather_rows(tokens, assignment // assignments.choices, copies, gaps=True)
    nothing = ops.zeros((1, x.shape[-1]), dtype=x.dtype)  # what an assignment gets that no expert takes
    y = ops.concatenate([*experts.ragged(x, counts), nothing], axis=0)
    return gather_rows(y, place, ops.pad(assignment, [[0, 1]])[:, None])


def _ragged_if_few(tokens, assignments, capacity, expert, rank, kept, experts):
    dispatch = _ragged if experts.num_experts <= MAX_RAGGED_EXPERTS else padded
    return dispatch(tokens, assignments, capacity, expert, rank, kept, experts)


# XLA needs all lengths before it runs, and a GPU one large product rather than many small ones.
_dispatch = Kernel(padded, tensorflow_cpu=_ragged_if_few)

# Slots of every expert: its capacity, or on TensorFlow as many as the expert with the most tokens uses.
_slots = Kernel(
    lambda counts, capacity: capacity,
    tensorflow=lambda counts, capacity: ops.clip(ops.max(counts), 1, capacity),
)


def capacity_of(assignments, factor, num_experts):
    """How many of so many assignments an expert takes: `factor` times an even share, rounded up."""
    if isinstance(assignments, int):
        return max(LEAST_CAPACITY, math.ceil(assignments * factor / num_experts))
    even = ops.cast(assignments, "float32") * (factor / num_experts)
    return ops.maximum(ops.cast(ops.ceil(even), "int32"), LEAST_CAPACITY)


# ---- Without one


def block_dispatch(tokens, routing, experts, size):
    """Every token goes to all of its experts: sorted by expert, in blocks of `size` rows that share a copy of its
    weights; the last block of an expert is filled up. tokens [N, d] → y [N, d].
    """
    assignments = sort_by_expert(routing)
    number = ops.shape(assignments.expert)[0]
    # Not -(-n // size): converters of programs take // for a division towards 0.
    blocks_of = (assignments.counts + (size - 1)) // size
    ends = ops.cumsum(blocks_of)
    total = (number + (size - 1)) // size + (experts.num_experts if size > 1 else 0)  # never needs more
    index = ops.arange(total, dtype="int32")
    expert = ops.minimum(ends_passed(ends, index), experts.num_experts - 1)
    first_of = ops.take(ends - blocks_of, expert, axis=0)
    within = (index - first_of)[:, None] * size + ops.arange(size, dtype="int32")[None]  # [total, size]
    used = within < ops.take(assignments.counts, expert, axis=0)[:, None]
    place = ops.clip(ops.take(assignments.starts, expert, axis=0)[:, None] + within, 0, number - 1)
    assignment = ops.take(assignments.order, place, axis=0)
    token = assignment // assignments.choices
    y = experts.blocks(ops.take(tokens, token, axis=0), expert)  # [total, size, d]
    return combine_blocks(y, routing.gates, assignment, used, token, ops.shape(tokens)[0])
