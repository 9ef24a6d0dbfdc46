"""Decoding with the net that reads text off the encoded inputs in order (CTC): alone, or together with the decoder."""

import numpy as np
from keras import ops

from t2t_multimodel.decoding.ctc_beams import as_array, likeliest_texts
from t2t_multimodel.decoding.decode import POSITIONS_STEP
from t2t_multimodel.decoding.search import POSSIBLE, length_penalty
from t2t_multimodel.kernels.ctc import best_path
from t2t_multimodel.vocabulary import EOS_ID


def read_positions(model, spec, batch):
    """What the aligned net says of each encoded position: logits float32 [B, S, V], padding_mask [B, S].

    Padded to as many positions as few programs serve, as by `decode.read_source`.
    """
    encoded, padding_mask, _, _ = model.encode(batch, spec)
    more = -ops.shape(encoded)[1] % POSITIONS_STEP
    logits = ops.pad(model.aligned_net(spec)(encoded), [[0, 0], [0, more], [0, 0]])
    return logits, ops.pad(padding_mask, [[0, 0], [0, more]])


def read_ids(model, spec, batch):
    """The ids of the likeliest path, its log-probability: int32 [B, S], zeros between and behind; float32 [B]."""
    logits, padding_mask = read_positions(model, spec, batch)
    real = padding_mask > 0
    ids = ops.where(real, best_path(logits), 0)
    most = ops.max(ops.log_softmax(logits), axis=-1)
    return ids, ops.sum(ops.where(real, most, 0.0), axis=1)


def log_probabilities(model, spec, logits, padding_mask, ids):
    """Of each hypothesis, over all paths: ids int32 [B, beam, T] → float32 [B, beam]."""
    beam, length = ids.shape[1:]
    rows = lambda x: ops.repeat(x, beam, axis=0)
    flat = ops.reshape(ids, [-1, length])
    nats = model.aligned_net(spec).nats(rows(logits), rows(padding_mask), flat)
    return ops.reshape(-nats, [-1, beam])


def to_the_left(ids):
    """Ids with the zeros between them moved behind them; numpy, [B, S] → the same."""
    order = np.argsort(ids == 0, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1)


def likeliest(logits, padding_mask, beams, length, limit):
    """The hypotheses of CTC alone, over all paths: ids int32 [B, beams, length] with end-of-sequence, and their
    log-probabilities [B, beams], -inf where there are fewer. No text has more than `limit` ids.

    Args: logits, padding_mask: numpy arrays, of `read_positions`.
    """
    frames = padding_mask.sum(axis=1).astype(int)
    texts = likeliest_texts(np.asarray(ops.log_softmax(logits)), frames, beams)
    return as_array(texts, beams, length, limit, EOS_ID)


def pooled(ids, scores, more_ids, more_scores):
    """The hypotheses of two searches, those of the second without what the first has: their score is -inf then."""
    known = (more_ids[:, :, None] == ids[:, None]).all(axis=3).any(axis=2)
    more_scores = np.where(known, -np.inf, more_scores)
    return np.concatenate([ids, more_ids], axis=1), np.concatenate([scores, more_scores], axis=1)


def penalty(lengths, alpha):
    """The length penalty of `search.length_penalty`, in numpy."""
    return np.asarray(length_penalty(np.asarray(lengths, np.float32), np.float32(alpha)))


def joint_order(scores, of_ctc, lengths, weight, alpha):
    """The hypotheses of a beam in the order of both scores (Watanabe et al. 2017, eq. 14).

    Args:
      scores: float32 [B, beam] of the beam search, log-probabilities over the length penalty. of_ctc: [B, beam],
        log-probabilities. lengths: [B, beam], ids with end-of-sequence. weight: the share of CTC.

    Returns:
      int [B, beam], best first; the scores in that order. What the beam has nothing for stays at the end.
    """
    joint = (1.0 - weight) * scores + weight * np.maximum(of_ctc, 0.01 * POSSIBLE) / penalty(lengths, alpha)
    joint = np.where(scores > POSSIBLE, joint, scores)
    order = np.argsort(-joint, axis=1, kind="stable")
    return order, np.take_along_axis(joint, order, axis=1)
