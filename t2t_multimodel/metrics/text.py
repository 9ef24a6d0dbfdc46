"""Metrics of text: BLEU, exact match, error rates of words and characters, CIDEr."""

from t2t_multimodel.metrics.answers import texts
from t2t_multimodel.metrics.base import Metric
from t2t_multimodel.metrics.cider import cider_scores
from t2t_multimodel.registry import register_metric

ORDERS = 4  # of BLEU's n-grams


@register_metric
class Bleu(Metric):
    """Corpus BLEU of sacrebleu, 0 to 100, with its signature; examples may differ in their number of references."""

    perfect, scale, digits = 100.0, 100.0, 1

    def score(self, predictions, references):
        from sacrebleu.metrics import BLEU

        most = max(len(right) for right in references)
        streams = [[right[i] if i < len(right) else None for right in references] for i in range(most)]
        metric = BLEU(force=True)  # force: no warning about texts that look tokenised; the score is the same
        value = metric.corpus_score(texts(predictions), streams).score
        return {"bleu": value, "bleu_signature": str(metric.get_signature())}

    def example_sums(self, predictions, references):
        from sacrebleu.metrics import BLEU

        metric = BLEU(effective_order=True)  # of a sentence; it changes the score, not the counts
        scores = [metric.sentence_score(text, right) for text, right in zip(texts(predictions), references)]
        return [[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores]

    def value_of(self, total):
        from sacrebleu.metrics import BLEU

        # The sentences' counts add up to the corpus's; its score is then sacrebleu's own.
        counts = [int(x) for x in total]
        correct, possible = counts[:ORDERS], counts[ORDERS : 2 * ORDERS]
        return BLEU.compute_bleu(correct, possible, counts[-2], counts[-1], smooth_method="exp").score


@register_metric
class ExactMatch(Metric):
    """The share of predictions that equal one of their references, character for character."""

    def per_example(self, predictions, references):
        return [int(text in right) for text, right in zip(texts(predictions), references)]


class ErrorRate(Metric):
    """Edits as a share of the reference's length; of several references the one with the lowest rate counts."""

    higher_is_better, perfect = False, 0.0
    process = ""  # the function of jiwer that aligns two texts

    def score(self, predictions, references):
        process = self._process()
        predictions = texts(predictions)
        best = [
            right[0] if len(right) == 1 else min(right, key=lambda one: _rate(process(one, text)))
            for text, right in zip(predictions, references)
        ]
        return {self.name: float(_rate(process(best, predictions)))}

    def example_sums(self, predictions, references):
        process = self._process()
        rows = []
        for text, right in zip(texts(predictions), references):
            best = min((process(one, text) for one in right), key=_rate)
            rows.append([_errors(best), _length(best)])
        return rows

    def _process(self):
        import jiwer

        return getattr(jiwer, self.process)


@register_metric
class WordErrorRate(ErrorRate):
    """Word error rate: substituted, left out and added words as a share of the reference's; can exceed 1."""

    name, process = "wer", "process_words"


@register_metric
class CharacterErrorRate(ErrorRate):
    """Character error rate: as `wer`, of characters."""

    name, process = "cer", "process_characters"


@register_metric
class Cider(Metric):
    """CIDEr-D of captions, 0 to 10: words shared with what several people said of the same picture."""

    perfect = scale = 10.0

    def per_example(self, predictions, references):
        return cider_scores(texts(predictions), references)


def _errors(alignment):
    return alignment.substitutions + alignment.deletions + alignment.insertions


def _length(alignment):
    return alignment.hits + alignment.substitutions + alignment.deletions


def _rate(alignment):
    return _errors(alignment) / max(1, _length(alignment))
