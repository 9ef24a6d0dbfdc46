"""Kaldi's and ESPnet's data folders: `wav.scp` and `text`, and `segments` where utterances are parts of recordings."""

import os

from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.media import Clip
from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.errors import UserError

COLUMNS = ("audio", "text", "utterance", "speaker")
_BLANKS = " \t"


def read(path, form, columns=None):
    """Yields a `Row` for each line of `text`: the recording or its part, the words, the utterance's name, its speaker.

    Nothing in `wav.scp` is executed: an entry that is a command (it ends in "|") is a fault.
    """
    recordings = _table(path, "wav.scp", form)
    segments = _table(path, "segments", form) if os.path.exists(os.path.join(path, "segments")) else None
    speakers = _table(path, "utt2spk", form) if os.path.exists(os.path.join(path, "utt2spk")) else {}
    for name, (number, text) in _table(path, "text", form).items():
        audio, fault = _audio(path, name, number, recordings, segments)
        if fault:
            yield Row(f"text:{number}", {}, fault)
        else:
            speaker = speakers.get(name, (0, name))[1]
            yield Row(f"text:{number}", {"audio": audio, "text": text, "utterance": name, "speaker": speaker})


def _audio(path, name, number, recordings, segments):
    """`(path or Clip, "")`, or `(None, fault)`."""
    recording, clip = name, None
    if segments is not None:
        if name not in segments:
            return None, f"{path}/text:{number}: {name} is not in segments"
        line, words = segments[name][0], segments[name][1].split()
        try:
            recording, start, end = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            return None, f"{path}/segments:{line}: expected: utterance recording start end, in seconds"
        if end < 0:  # Kaldi: to the end of the recording
            end = None
        if not 0 <= start < (end if end is not None else float("inf")):
            return None, f"{path}/segments:{line}: from {start:g} to {end} s is no part of a recording"
        clip = start, end
    if recording not in recordings:
        return None, f"{path}/text:{number}: {recording} is not in wav.scp"
    line, file = recordings[recording]
    if file.endswith("|") or file.startswith("|"):
        return None, (
            f"{path}/wav.scp:{line}: a command, and commands of data are not run; write the recordings to files "
            "(Kaldi: wav-copy) and list those"
        )
    return (Clip(file, *clip) if clip else file), ""


def _table(path, file, form):
    """{first word of a line: (line number, the rest)}"""
    full, found = os.path.join(path, file), {}
    if not os.path.exists(full):
        raise UserError(f"{full}: no such file; expected: wav.scp, text, and segments where utterances are parts")
    for number, line in read_lines(full, max_line_length=form.max_line_length):
        name, _, rest = line.strip(_BLANKS).replace("\t", " ").partition(" ")
        if not name:
            continue
        if name in found:
            raise UserError(f"{full}:{number}: {name} is there twice")
        found[name] = number, rest.strip(_BLANKS)
    return found
