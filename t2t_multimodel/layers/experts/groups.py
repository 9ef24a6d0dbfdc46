"""Dispatch by groups of rows: each group of a batch has its own share of every expert's capacity.

A device that has whole groups routes its rows without the others: no sort over the batch, and two all-to-alls bring
tokens to the devices of their experts and back (GShard: Lepikhin et al. 2021, arXiv 2006.16668). The groups belong to
the batch and not to the devices, so the result does not depend on how many devices there are.
"""

import functools

from keras import ops

from t2t_multimodel.kernels.feed_forward import feed_forward_by_expert
from t2t_multimodel.layers.experts.across_devices import by_shard
from t2t_multimodel.layers.experts.dispatch import (
    capacity_of,
    dropped_fraction,
    padded,
    sort_by_expert,
    within_capacity,
)
from t2t_multimodel.layers.experts.router import Routing


def grouped_dispatch(tokens, routing, padding_mask, experts, capacity_factor, groups):
    """As `capacity_dispatch`; an expert takes the first tokens of each group, up to capacity / `groups` rounded up.

    Where no group fills an expert this is what `capacity_dispatch` gives, up to rounding.

    Args: tokens [N, d], N known and a multiple of `groups`: the first N / `groups` are the first group, and so on.
    """
    choices, number = routing.ids.shape[1], experts.num_experts
    capacity = -(-capacity_of(tokens.shape[0] * choices, capacity_factor, number) // groups)

    def route(groups, send, bring_back, tokens, gates, ids, first, second):
        """`within_capacity` of the tokens of so many groups."""
        group = ops.arange(tokens.shape[0], dtype="int32") // (tokens.shape[0] // groups)
        apart = Routing(gates, ids + number * group[:, None], groups * number)
        nets = lambda x: bring_back(feed_forward_by_expert(send(x), first, second))
        of_groups = _ExpertsOfGroups(groups, number, nets)
        slots = functools.partial(padded, slots=capacity)
        return within_capacity(tokens, sort_by_expert(apart), gates, capacity, of_groups, slots)

    weights = [ops.cast(ops.convert_to_tensor(weights), tokens.dtype) for weights in (experts.first, experts.second)]
    y, kept = by_shard(route, groups, (tokens, routing.gates, routing.ids), weights)
    return y, dropped_fraction(kept, padding_mask, choices)


class _ExpertsOfGroups:
    """What `padded` takes for experts: one for each group and expert, G · E of them."""

    def __init__(self, groups, number, feed_forward):
        """Args: feed_forward: a function x [E, slots, d] → the same."""
        self.num_experts = groups * number
        self._groups, self._number, self._feed_forward = groups, number, feed_forward

    def padded(self, x):
        """x [G·E, S, d] → the same; an expert gets the slots of all groups, [E, G·S, d]."""
        _, slots, size = x.shape
        x = ops.transpose(ops.reshape(x, [self._groups, self._number, slots, size]), [1, 0, 2, 3])
        y = self._feed_forward(ops.reshape(x, [self._number, self._groups * slots, size]))
        y = ops.transpose(ops.reshape(y, [self._number, self._groups, slots, size]), [1, 0, 2, 3])
        return ops.reshape(y, [-1, slots, size])
