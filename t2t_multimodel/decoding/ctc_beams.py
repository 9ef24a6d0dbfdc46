"""The likeliest texts of CTC, each over all of its paths: prefix beam search, in numpy and Python."""

import math

import numpy as np

_NEVER = -math.inf
_IDS_A_FRAME = 8  # that a text may go on with: the likeliest


def likeliest_texts(log_probabilities, frame_counts, beams):
    """The `beams` likeliest texts of each row that a beam of twice as many finds (Hannun 2014, algorithm 1).

    Args:
      log_probabilities: float32 [B, S, V] of each id at each frame; id 0 is the blank.
      frame_counts: int [B]: the first so many frames count.

    Returns:
      For each row [(ids as a tuple, log-probability)], best first: at most `beams`, and () for no id at all.
    """
    return [_of_row(row[:count], beams) for row, count in zip(log_probabilities, frame_counts)]


def _of_row(frames, beams):
    texts = {(): (0.0, _NEVER)}  # {ids: (log-probability of its paths that end in a blank, of those that do not)}
    for frame in frames:
        likely = np.argpartition(-frame, min(_IDS_A_FRAME, len(frame) - 1))[:_IDS_A_FRAME]
        nats = [(i, float(frame[i])) for i in likely.tolist() if i]
        blank, found = float(frame[0]), {}
        for ids, (with_blank, without) in texts.items():
            either = _sum(with_blank, without)
            stays = without + float(frame[ids[-1]]) if ids else _NEVER
            _add(found, ids, either + blank, stays)
            for i, nat in nats:
                # The same id again is a new one behind a blank alone.
                _add(found, (*ids, i), _NEVER, (with_blank if ids and i == ids[-1] else either) + nat)
        best = sorted(found.items(), key=lambda item: -_sum(*item[1]))
        texts = dict(best[: 2 * beams])
    return [(ids, _sum(*both)) for ids, both in list(texts.items())[:beams]]


def _add(found, ids, with_blank, without):
    if with_blank == without == _NEVER:
        return
    before = found.get(ids)
    if before is None:
        found[ids] = with_blank, without
    else:
        found[ids] = _sum(before[0], with_blank), _sum(before[1], without)


def _sum(a, b):
    """log(eᵃ + eᵇ)"""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))


def as_array(texts, beams, length, limit, end):
    """The texts of `likeliest_texts` as ids int32 [B, beams, length] that end in `end`, and their log-probabilities.

    A text is cut to `limit` ids with its end, as the decoder's are; what a row has fewer than `beams` is empty, with a
    log-probability of -inf.
    """
    ids = np.zeros((len(texts), beams, length), np.int32)
    scores = np.full((len(texts), beams), -np.inf, np.float32)
    for row, of_row in enumerate(texts):
        for beam, (text, score) in enumerate(of_row):
            written = (*text, end)[:limit]
            ids[row, beam, : len(written)] = written
            scores[row, beam] = score
    return ids, scores
