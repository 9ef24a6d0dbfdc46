"""Spoken English that `make_corpus.py` beside this file makes, in LibriSpeech's layout."""

from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.problems.librispeech import Librispeech
from t2t_multimodel.registry import register_problem


@register_problem
class MadeSpeech(Librispeech):
    """English sentences of Python's documentation and of your own files, 16 kHz, into lower-case words.

    Source: espeak-ng in 32 voices (accent and variant) at 120 to 220 words a minute, half of it in a room, most of it
    with noise. Licence: PSF for Python's documentation; your own files' for the rest.
    Size: as asked for; 5 hours are 610 MB of examples. dev: other sentences; test: other sentences and 6 other voices.
    How to get it: python examples/speech/make_corpus.py --output_dir=corpora/made_speech --hours=5
    Command: t2t-datagen --t2t_usr_dir=examples/speech --problem=made_speech --manual_dir=corpora --data_dir=data/speech
    Metric: character error rate.
    """

    corpus = Corpus(
        folder_name="made_speech",
        title="made speech",
        obtain="by python examples/speech/make_corpus.py --output_dir=<that folder>",
        layout="the folder LibriSpeech with train, dev-sentences and dev-voices",
    )
    train_subsets = ("train",)
    dev_subsets = ("dev-sentences",)
    test_subsets = ("dev-voices",)
    metrics = ("cer", "wer")
    vocabulary_size = 400  # the smallest there is: letters and some fifty frequent pairs of them

    def _prepared(self):
        raise self.corpus.missing()
