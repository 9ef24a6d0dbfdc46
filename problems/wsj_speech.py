"""Wall Street Journal speech: speech recognition of newspaper sentences read aloud.

Source: CSR-I (WSJ0) and CSR-II (WSJ1) of the Linguistic Data Consortium, LDC93S6A (or 6B) and LDC94S13A (or 13B).
Licence: the consortium's, for members or for a fee; not free. The stand-in that is free is `librispeech`.
Size: 37,416 utterances, 81 hours, to train (si284: SI-84 of WSJ0 and SI-200 of WSJ1, close-talking microphone), 503 dev
(dev93), 333 test (eval92); 49 CD-ROMs, about 10 GB as examples.
How to get it: from the consortium, under its licence; put the discs' folders (11-1.1, 11-2.1, …, 13-34.1) into
`wsj_speech/` under the manual folder. The discs are compressed by shorten, which takes the extra
`pip install 't2t-multimodel[wsj]'`; or uncompress them to SPHERE with sph2pipe.
Command: t2t-datagen --problem=wsj_speech --data_dir=data --manual_dir=corpora
Metric: word error rate on eval92 (open 20,000 words, no verbalised punctuation). Expect about 0.19 from attention alone
without a language model (Bahdanau et al. 2016, arXiv 1508.04395: 18.6 % words, 6.4 % characters).
"""

import functools
import os

from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.data_gen.readers.sphere import read_header
from t2t_multimodel.data_gen.readers.wsj_discs import WsjDiscs, normalised
from t2t_multimodel.modalities import Audio, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

WSJ = Corpus(
    folder_name="wsj_speech",
    title="Wall Street Journal speech (CSR-I and CSR-II, LDC93S6A and LDC94S13A)",
    obtain="from the Linguistic Data Consortium, under its licence",
    layout="the discs' folders 11-1.1 to 11-15.1 and 13-1.1 to 13-34.1",
    stand_in="librispeech",
)
# In the index of SI-84, but not in Kaldi's recipe, and so not in the 37,416 utterances of published results.
_LEFT_OUT = ("11_2_1", "wsj0/si_tr_s/401/")


@register_problem
class WsjSpeech(Problem):
    """English newspaper sentences read aloud (Wall Street Journal, si284), 16 kHz, into lower-case words.

    The index files of the discs define the splits. A listed utterance without a recording or transcript on the discs is
    a bad record. Transcripts are normalised by `readers.wsj_discs.normalised`.
    """

    corpus = WSJ
    train_indices = ("wsj0/doc/indices/train/tr_s_wv1.ndx", "wsj1/doc/indices/si_tr_s.ndx")
    dev_indices = ("wsj1/doc/indices/h1_p0.ndx",)
    test_indices = ("wsj0/doc/indices/test/nvp/si_et_20.ndx",)
    mark_punctuation = True  # SI-84's ",COMMA" becomes ",comma"; False: "comma"
    metrics = ("wer", "cer")
    inputs = Audio(rate=16000)
    targets = Text("English")

    def samples(self, split):
        seen = set()
        for index in getattr(self, f"{split}_indices"):
            for utterance in self._utterances(index):
                if utterance.name in seen:
                    continue
                seen.add(utterance.name)
                sample = {"inputs": str(self._discs.recording(utterance)), "key": utterance.name}
                try:
                    transcript = self._discs.transcript(utterance)
                    yield {**sample, "targets": normalised(transcript.text, self.mark_punctuation)}
                except ValueError as error:  # raised by `prepare`, as a bad record
                    yield {**sample, "targets": None, "fault": str(error)}

    def prepare(self, sample):
        if "fault" in sample:
            raise ValueError(sample["fault"])
        if os.path.exists(sample["inputs"]):
            read_header(sample["inputs"])  # another file format means a damaged file
        return {**sample, "inputs": read_recording(sample["inputs"], self.inputs.rate, self.inputs.max_seconds)}

    def source_files(self):
        indices = [index for split in self.splits for index in getattr(self, f"{split}_indices")]
        recordings = {str(self._discs.recording(u)) for index in indices for u in self._utterances(index)}
        there = [path for path in sorted(recordings) if os.path.exists(path)]
        return [str(path) for path in (*map(self._index, indices), *self._discs.source_files())] + there

    @functools.cached_property
    def _discs(self):
        return WsjDiscs(self.corpus.require())

    def _index(self, inside):
        path = self._discs.index(inside)
        if path is None:
            raise self.corpus.missing(self.corpus.folder / inside)
        return path

    def _utterances(self, index):
        self._index(index)
        for utterance in self._discs.utterances(index):
            if (utterance.disc, utterance.inside[: len(_LEFT_OUT[1])].lower()) != _LEFT_OUT:
                yield utterance

    def __getstate__(self):
        """The state for the workers, without the large index of files."""
        return {name: value for name, value in vars(self).items() if name != "_discs"}
