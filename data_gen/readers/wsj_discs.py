"""The discs of the Wall Street Journal speech corpora (CSR-I and II): index files, recordings, transcripts.

Discs are in folders such as 11-1.1 or 13_34_1, with names in upper or lower case, or all in one folder. So every file
is found by its path from `wsj0/` or `wsj1/` on, case ignored; the number of a disc only chooses between copies.
"""

import pathlib
import re
from typing import NamedTuple

from t2t_multimodel.data_gen.readers.folders import files_below
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import require_regular

_DISC = re.compile(r"(1[13])[-_.](\d+)[-_.](\d+)")
_ENTRY = re.compile(r"([\d_.-]+)\s*:\s*(\S+)")
_TRANSCRIPT = re.compile(r"(.*)\(\s*(\w+)\s*\)\s*")
_EVENT = re.compile(r"\[[^\]\s]*\]")  # [lip_smack], [<door_slam], [door_slam>], [phone_ring/], [/phone_ring]
_PUNCTUATION = re.compile(r"([^\w\s'!]+|'(?=[\w-]*quote)|!(?=exclamation))(\w[\w'-]*)")  # ",comma", "'single-quote"
_SPOKEN_SYMBOLS = ("percent", "point")  # part of spoken numbers, "five .point two %percent": normal words


class Utterance(NamedTuple):
    """One line of an index."""

    name: str  # "01ic0201", lower case
    disc: str  # "11_1_1"
    inside: str  # "wsj0/si_tr_s/01i/01ic0201.wv1"
    place: str  # index file and line


class Transcript(NamedTuple):
    text: str  # unchanged, with all marks
    place: str


class WsjDiscs:
    """The files on the discs below `folder`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._found = {}  # suffix → {path from wsj0/ or wsj1/ on, lower case: its `Path`s}
        for path in files_below(self.folder, ".wv1", ".ndx", ".dot", ".lsn"):
            inside = _inside(path.relative_to(self.folder))
            self._found.setdefault(path.suffix.lower(), {}).setdefault(inside, []).append(path)
        self._transcripts = self._without_name = None

    def index(self, inside):
        """The `Path` of an index file; None if no disc has it."""
        return self._file(".ndx", inside)

    def utterances(self, inside):
        """Yields the `Utterance`s of an index file: lines "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1", comments after ";".

        Raises:
          UserError: a malformed line.
        """
        path = self.index(inside)
        for number, line in read_lines(path):
            line = line.strip()
            if not line or line.startswith(";"):
                continue
            entry = _ENTRY.fullmatch(line)
            if not entry:
                form = "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1"
                raise UserError(f"{path}:{number}: {line[:60]!r} does not have the form {form}")
            if ".." in entry[2].split("/"):
                raise UserError(f"{path}:{number}: {line[:60]!r} leads out of the disc")
            disc, recording = entry[1], entry[2].lstrip("/")
            if not recording.lower().endswith(".wv1"):  # missing in the indices of test sets
                recording += ".wv1"
            yield Utterance(pathlib.PurePosixPath(recording).stem.lower(), disc, recording, f"{path}:{number}")

    def recording(self, utterance):
        """The `Path` of a recording; if no disc has it, the expected path."""
        found = self._file(".wv1", utterance.inside, utterance.disc)
        return found or self.folder / _DISC.sub(r"\1-\2.\3", utterance.disc) / utterance.inside

    def transcript(self, utterance):
        """The `Transcript` of an utterance, from a .dot file or else a .lsn file.

        Raises:
          ValueError: there is none; the message names the searched files, and lines there without an utterance name.
        """
        if self._transcripts is None:
            self._read_transcripts()
        found = self._transcripts.get(utterance.name)
        if found is None:
            nameless = self._without_name.get(utterance.name[:6], [])
            hint = f"; no name of an utterance ends {' and '.join(nameless[:3])}" if nameless else ""
            raise ValueError(
                f"no transcript of {utterance.name} ({utterance.place}) in the {self._transcript_files} .dot and .lsn "
                f"files below {self.folder}{hint}"
            )
        return found

    def source_files(self):
        """The `Path`s of all transcripts."""
        return [path for suffix in (".dot", ".lsn") for paths in self._found.get(suffix, {}).values() for path in paths]

    def _file(self, suffix, inside, disc=""):
        paths = self._found.get(suffix, {}).get(inside.lower(), [])
        number = _DISC.fullmatch(disc)
        for path in paths:
            if number and any((other := _DISC.fullmatch(p)) and other.groups() == number.groups() for p in path.parts):
                return path
        return paths[0] if paths else None

    def _read_transcripts(self):
        """Fills {utterance: Transcript}; .dot files first, since .lsn files are less detailed."""
        self._transcripts, self._without_name = {}, {}
        files = self.source_files()
        self._transcript_files = len(files)
        for path in files:
            require_regular(path)
            for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
                line = raw.decode("latin-1").strip("\x1a\r ")  # \x1a: DOS's end of file
                found = _TRANSCRIPT.fullmatch(line)
                if found:
                    transcript = Transcript(found[1].strip(), f"{path}:{number}")
                    self._transcripts.setdefault(found[2].lower(), transcript)
                elif line and not line.startswith(";"):
                    self._without_name.setdefault(path.stem.lower()[:6], []).append(f"{path}:{number}")


def normalised(transcript, mark_punctuation=True):
    """The words of a transcript in lower case, for training and scoring.

    The rules are those of Kaldi's recipe (`normalize_transcript.pl`), and also remove marks inside words that Kaldi
    leaves to its lexicon:
      noises "[lip_smack]", "[<door_slam]", pauses "." and "~" (speech cut off by the recording) are removed;
      "<and>", "*and*", "!and", "a:nd" (deleted, mispronounced, stressed, lengthened) become the spoken word "and";
      "com(pany)-", a word broken off, becomes its spoken part "com-";
      verbalised punctuation keeps its sign: ",COMMA" is ",comma", "--DASH" is "-dash", but "%PERCENT" is "percent" and
      ".POINT" is "point".

    Args:
      transcript: the text of a .dot or .lsn line, without its "(utterance)".
      mark_punctuation: False: ",COMMA" is "comma".
    """
    words = []
    for token in _EVENT.sub(" ", transcript).replace("\\", "").lower().split():
        token = re.sub(r"[<>*~]", "", token)
        punctuation = _PUNCTUATION.fullmatch(token)
        if punctuation:
            sign, name = punctuation.groups()
            bare = not mark_punctuation or name in _SPOKEN_SYMBOLS
            token = name if bare else sign.replace("--", "-") + name
        else:
            token = re.sub(r"(?<=\w):|\([\w']*\)|^!+", "", token)
        if re.search(r"\w", token):
            words.append(token)
    return " ".join(words)


def _inside(path):
    """A path from wsj0/ or wsj1/ on, lower case."""
    parts = [part.lower() for part in path.parts]
    discs = [i for i, part in enumerate(parts) if _DISC.fullmatch(part)]
    start = discs[-1] + 1 if discs else 0
    start = next((i for i in range(start, len(parts)) if parts[i] in ("wsj0", "wsj1")), start)
    return "/".join(parts[start:])
