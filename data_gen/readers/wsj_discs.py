"""The discs of the Wall Street Journal speech corpora (CSR-I and II): index files, recordings, transcripts.

Discs lie in folders such as 11-1.1 or 13_34_1, names in either case, sometimes all in one folder without the discs'.
So everything is found by its path from `wsj0/` or `wsj1/` on, case ignored; a disc's number only picks one of copies.
"""

import pathlib
import re
from typing import NamedTuple

from t2t_multimodel.data_gen.readers.folders import files_below
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.errors import UserError

_DISC = re.compile(r"(1[13])[-_.](\d+)[-_.](\d+)")
_ENTRY = re.compile(r"([\d_.-]+)\s*:\s*(\S+)")
_TRANSCRIPT = re.compile(r"(.*)\(\s*(\w+)\s*\)\s*")
_EVENT = re.compile(r"\[[^\]\s]*\]")  # [lip_smack], [<door_slam], [door_slam>], [phone_ring/], [/phone_ring]
_PUNCTUATION = re.compile(r"([^\w\s'!]+|'(?=[\w-]*quote)|!(?=exclamation))(\w[\w'-]*)")  # ",comma", "'single-quote"
_SPOKEN_SYMBOLS = ("percent", "point")  # said in numbers, "five .point two %percent": words like others


class Utterance(NamedTuple):
    """One line of an index."""

    name: str  # "01ic0201", lower case
    disc: str  # "11_1_1"
    inside: str  # "wsj0/si_tr_s/01i/01ic0201.wv1"
    place: str  # the index and the line


class Transcript(NamedTuple):
    text: str  # as the file has it, marks and all
    place: str


class WsjDiscs:
    """What is on the discs below `folder`; looks through all of it once, at the first question."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._found = {}  # suffix → {path from wsj0/ or wsj1/ on, lower case: its `Path`s}
        for path in files_below(self.folder, ".wv1", ".ndx", ".dot", ".lsn"):
            inside = _inside(path.relative_to(self.folder))
            self._found.setdefault(path.suffix.lower(), {}).setdefault(inside, []).append(path)
        self._transcripts = self._without_name = None

    def index(self, inside):
        """The `Path` of an index file; None where no disc has it."""
        return self._file(".ndx", inside)

    def utterances(self, inside):
        """Yields the `Utterance`s of an index file: lines "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1", comments after ";".

        Raises:
          UserError: a line of another form.
        """
        path = self.index(inside)
        for number, line in read_lines(path):
            line = line.strip()
            if not line or line.startswith(";"):
                continue
            entry = _ENTRY.fullmatch(line)
            if not entry:
                form = "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1"
                raise UserError(f"{path}:{number}: {line[:60]!r} is not of the form {form}")
            disc, recording = entry[1], entry[2].lstrip("/")
            if not recording.lower().endswith(".wv1"):  # the indices of test sets leave it out
                recording += ".wv1"
            yield Utterance(pathlib.PurePosixPath(recording).stem.lower(), disc, recording, f"{path}:{number}")

    def recording(self, utterance):
        """The `Path` of a recording, or the one where it should be, if no disc has it."""
        found = self._file(".wv1", utterance.inside, utterance.disc)
        return found or self.folder / _DISC.sub(r"\1-\2.\3", utterance.disc) / utterance.inside

    def transcript(self, utterance):
        """The `Transcript` of an utterance, of a .dot file or else of a .lsn file.

        Raises:
          ValueError: there is none; the message names what was searched, and the lines there that name no utterance.
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
        """Fills {utterance: Transcript}, .dot files first: they say what was said, .lsn files leave some of it out."""
        self._transcripts, self._without_name = {}, {}
        files = self.source_files()
        self._transcript_files = len(files)
        for path in files:
            for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
                line = raw.decode("latin-1").strip("\x1a\r ")  # \x1a: DOS's end of file
                found = _TRANSCRIPT.fullmatch(line)
                if found:
                    transcript = Transcript(found[1].strip(), f"{path}:{number}")
                    self._transcripts.setdefault(found[2].lower(), transcript)
                elif line and not line.startswith(";"):
                    self._without_name.setdefault(path.stem.lower()[:6], []).append(f"{path}:{number}")


def normalised(transcript, mark_punctuation=True):
    """A transcript's words, lower case: what a recogniser is trained and scored on.

    The rules are those of Kaldi's recipe (`normalize_transcript.pl`), carried through to marks that it leaves in words
    for a lexicon to deal with:
      noises "[lip_smack]", "[<door_slam]" and pauses "." go, and "~" where the recording cuts the speech off;
      "<and>", "*and*", "!and", "a:nd" (deleted, mispronounced, stressed, drawn out) are the word that was said: "and";
      of "com(pany)-", broken off, what was said is left: "com-";
      verbalised punctuation keeps its sign, ",COMMA" is ",comma", "--DASH" is "-dash", but "%PERCENT" is "percent" and
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
