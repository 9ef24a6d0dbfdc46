"""Recordings with transcripts in a tab-separated file: speech recognition."""

import functools
import os

from t2t_multimodel.data_gen.readers.lines import bad_sample, read_columns
from t2t_multimodel.data_gen.readers.recordings import SUFFIXES
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Text
from t2t_multimodel.problems.file_problem import FileProblem, compressed_or_not
from t2t_multimodel.problems.splits_of_train import shared_out


class TranscribedSpeech(FileProblem):
    """Sound to text from `<directory>/{train,dev,test}/transcripts.tsv` (file ⇥ text) and the recordings beside it.

    Recordings are WAV, FLAC, OGG or MP3, of any rate and any number of channels; files are relative to the folder.

        @register_problem
        class Voicemail(TranscribedSpeech):
            \"\"\"Messages left on my telephone. 3 hours, 350 MB. Metric: character error rate, expect 0.15.\"\"\"
            directory = "voicemail"
            audio = Audio(rate=8000)
    """

    audio = Audio(rate=16000)  # recordings are resampled to this rate
    language = "English"  # of the transcripts, for reports
    units = "subwords"  # of the transcripts; "characters" where recordings are few (docs/speech.md)
    metrics = ("cer", "wer")

    _form = "train/transcripts.tsv (dev, test alike), one recording per line: file ⇥ text, and the recordings beside it"

    @functools.cached_property
    def inputs(self):
        return self.audio

    @functools.cached_property
    def targets(self):
        return Text(self.language, units=self.units)

    @shared_out
    def read_samples(self, split):
        folder, listed = self.split_path(split), set()
        for cells in self._transcripts(split):
            if isinstance(cells, dict):
                yield cells
                continue
            file, text = cells
            listed.add(file)
            yield {"inputs": str(folder / file), "targets": text, "key": f"{split}/{file}"}
        self.say_unlisted(split, listed, "transcripts.tsv", SUFFIXES)

    def prepare(self, sample):
        from t2t_multimodel.data_gen.readers.recordings import read_recording

        try:
            self.check_inside(sample["inputs"])
            sound = read_recording(sample["inputs"], self.inputs.rate, self.inputs.max_seconds)
            return {**sample, "inputs": sound}
        except ValueError as error:
            split, _, file = sample["key"].partition("/")
            raise ValueError(f"{error} (transcripts.tsv of {split} names {file})") from error

    def source_files(self):
        lists = list(dict.fromkeys(str(self._list(split)) for split in self.splits))
        samples = (sample for split in self.splits for sample in self.read_samples(split) if "bad" not in sample)
        # A missing file is a bad record, reported when it is read.
        return lists + [sample["inputs"] for sample in samples if os.path.exists(sample["inputs"])]

    def _transcripts(self, split):
        path = self._list(split)
        if not os.path.lexists(path):
            raise UserError(f"problem {self._called}: no such file: {path}; expected: {self._form}")
        for _, cells in read_columns(path, ("file", "text"), bad_sample, max_line_length=self.max_line_length):
            yield cells

    def _list(self, split):
        return compressed_or_not(self.split_path(split) / "transcripts.tsv")
