"""Makes a corpus of spoken English in LibriSpeech's layout with espeak-ng: many voices, speeds, noises and rooms.

    python examples/speech/make_corpus.py --output_dir=corpora/made_speech --hours=5 --text=SENTENCES.txt

The sentences are those of Python's own documentation (its topics and the docstrings of its standard library, PSF
licence), and of the files that --text names: one sentence a line, of a table the first column. What is not made of
plain words is passed over. Equal arguments make equal files; a run that was interrupted goes on.
"""

import argparse
import ast
import contextlib
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

from t2t_multimodel.errors import UserError

RATE = 16000
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
VARIANTS = ("m1", "m2", "m3", "m4", "f1", "f2", "f3", "f4")  # each of them in four of the accents
UNSEEN = tuple(zip(ACCENTS, ("m5", "f5", "m6", "klatt", "m7", "klatt3")))  # only in dev-voices
VOICES = tuple((ACCENTS[(i + 3 * j) % len(ACCENTS)], variant) for j, variant in enumerate(VARIANTS) for i in range(4))
SUBSETS = {"train": VOICES, "dev-sentences": VOICES, "dev-voices": UNSEEN}
FIRST_SPEAKER = {"train": 100, "dev-sentences": 200, "dev-voices": 300}
CHAPTER = {"train": 20, "dev-sentences": 5, "dev-voices": 5}  # utterances; of dev few, so that every voice comes up
_WORD = re.compile(r"[A-Za-z][a-z]*(?:['-][a-z]+)*,?|I")
_MARKS = re.compile(r"[\"“”`*()]")
_PASSED_OVER = {"site-packages", "test", "tests", "idlelib", "lib2to3"}


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What is said, by whom and how."""

    name: str  # "3-1-0007": speaker, chapter, number
    text: str
    accent: str
    variant: str
    seed: int  # of noise and room
    words_a_minute: int
    pitch: int  # 0 to 99, as espeak-ng takes it


def sentences(files):
    """The sentences of plain words of `files` and of Python's documentation, each once, sorted."""
    found = {}
    for text in _texts(files):
        for paragraph in re.split(r"\n\s*\n", text):
            if ">>>" in paragraph or re.search(r"^\s*[-=~]{3}", paragraph, re.MULTILINE):
                continue  # code and tables
            for sentence in re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split())):
                words = _MARKS.sub("", sentence.replace("’", "'")).rstrip(".!?:; ").split(" ")
                if 3 <= len(words) <= 20 and all(_WORD.fullmatch(word) for word in words):
                    said = " ".join(words)
                    found.setdefault(said.lower().replace(",", ""), said)
    return [found[key] for key in sorted(found)]


def _texts(files):
    for path in files:
        try:
            with open(path, encoding="utf-8") as lines:
                yield "\n\n".join(line.split("\t")[0] for line in lines)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--text={path}: can't be read ({getattr(error, 'strerror', None) or error})") from None
    from pydoc_data import topics

    yield from topics.topics.values()
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if _PASSED_OVER.isdisjoint(path.relative_to(library).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # files that are there to be wrong
                continue
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            yield from (ast.get_docstring(n) or "" for n in ast.walk(tree) if isinstance(n, documented))


def transcript(sentence):
    """A sentence as LibriSpeech writes it: words in capitals, without marks."""
    return sentence.replace(",", "").replace("-", " ").upper()


def planned(texts, hours, dev_minutes, seed):
    """{subset: [[`Utterance`s of a chapter]]}: about so long, no sentence of dev in train or in the other dev."""
    order = random.Random(seed)
    texts = list(texts)
    order.shuffle(texts)
    rest, chapters = iter(texts), {}
    for subset in ("dev-sentences", "dev-voices"):
        chapters[subset] = _chapters(subset, rest, dev_minutes * 60, order)
    left = list(rest)
    if not left:
        raise UserError(f"{len(texts):,} sentences are too few for {dev_minutes:g} minutes of dev; name more by --text")
    chapters["train"] = _chapters("train", _again_and_again(left, order), hours * 3600, order)
    return chapters


def _again_and_again(texts, order):
    while True:
        yield from texts
        order.shuffle(texts)


def _chapters(subset, texts, seconds, order):
    """Chapters of one speaker each, in turn, until the estimated length is reached or `texts` end."""
    chapters, voices = [], SUBSETS[subset]
    while seconds > 0:
        number = len(chapters)
        accent, variant = voices[number % len(voices)]
        speaker = FIRST_SPEAKER[subset] + number % len(voices)
        chapter = []
        while len(chapter) < CHAPTER[subset] and seconds > 0 and (text := next(texts, None)) is not None:
            speed, pitch = order.randint(120, 220), order.randint(25, 75)
            name = f"{speaker}-{number}-{len(chapter):04d}"
            chapter.append(Utterance(name, text, accent, variant, order.getrandbits(32), speed, pitch))
            seconds -= 0.5 + len(text) / 5.6 * 60 / speed
        if not chapter:
            break
        chapters.append(chapter)
    return chapters


def spoken(utterance):
    """The sound of an utterance, int16 at `RATE`."""
    import soundfile
    import soxr

    u = utterance
    command = ["espeak-ng", "-v", f"{u.accent}+{u.variant}", "-s", str(u.words_a_minute), "-p", str(u.pitch)]
    done = subprocess.run([*command, "--stdin", "--stdout"], input=u.text.encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise UserError(f"espeak-ng can't say {u.text!r} as {u.accent}+{u.variant}: {done.stderr.decode()[:200]}")
    # Its header does not know the length of what is piped.
    clean, rate = soundfile.read(io.BytesIO(_with_lengths(done.stdout)), dtype="float32")
    clean = soxr.resample(clean, rate, RATE)
    numbers = np.random.default_rng(u.seed)
    clean = np.pad(clean, [int(s * RATE) for s in numbers.uniform(0.05, 0.3, 2)])
    if numbers.random() < 0.5:
        clean = in_a_room(clean, numbers)
    clean = clean / max(np.abs(clean).max(), 1e-6) * 10 ** (numbers.uniform(-26, -1) / 20)
    if numbers.random() < 0.7:
        clean = clean + noise(len(clean), numbers) * _rms(clean) * 10 ** (-numbers.uniform(10, 40) / 20)
    return np.clip(np.rint(clean * 32768), -32768, 32767).astype(np.int16)


def in_a_room(sound, numbers):
    """With echoes that fall by 60 dB in 0.1 to 0.4 seconds."""
    seconds = numbers.uniform(0.1, 0.4)
    times = np.arange(int(seconds * RATE)) / RATE
    response = numbers.normal(size=len(times)) * np.exp(-6.9 * times / seconds) * numbers.uniform(0.02, 0.12)
    response[0] = 1.0
    size = 1 << (len(sound) + len(response)).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)]


def noise(samples, numbers):
    """Of power 1, between white (all frequencies alike) and pink (falling by 3 dB an octave)."""
    spectrum = np.fft.rfft(numbers.normal(size=samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** -numbers.uniform(0.0, 0.5)
    made = np.fft.irfft(spectrum, samples)
    return made / _rms(made)


def _rms(sound):
    return max(float(np.sqrt(np.mean(np.square(sound)))), 1e-9)


def _with_lengths(wav):
    """A WAV with its real length at the places where a pipe's header says "unknown"."""
    data = wav.index(b"data")
    size = len(wav) - data - 8
    return (
        wav[:4]
        + (len(wav) - 8).to_bytes(4, "little")
        + wav[8 : data + 4]
        + size.to_bytes(4, "little")
        + wav[data + 8 :]
    )


def write_chapter(task):
    """Writes a chapter's folder, whole or not at all; returns the seconds of sound in it."""
    folder, chapter = task
    import soundfile

    staging = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    seconds = 0.0
    for utterance in chapter:
        sound = spoken(utterance)
        soundfile.write(str(staging / f"{utterance.name}.flac"), sound, RATE)
        seconds += len(sound) / RATE
    list_file = f"{folder.parent.name}-{folder.name}.trans.txt"
    (staging / list_file).write_text("".join(f"{u.name} {transcript(u.text)}\n" for u in chapter))
    (staging / "seconds.json").write_text(json.dumps(seconds))
    os.replace(staging, folder)
    return seconds


def make(output_dir, hours, dev_minutes, seed, files, workers, say=print):
    """Makes the corpus, or what is missing of it; returns {subset: hours}."""
    check_espeak()
    texts = sentences(files)
    chapters = planned(texts, hours, dev_minutes, seed)
    plan = repr([chapters[subset] for subset in SUBSETS]).encode()
    made_from = {"hours": hours, "dev_minutes": dev_minutes, "seed": seed, "plan": hashlib.sha256(plan).hexdigest()}
    output_dir.mkdir(parents=True, exist_ok=True)
    note = output_dir / "made_from.json"
    if note.exists() and json.loads(note.read_text()) != made_from:
        raise UserError(
            f"{output_dir} holds a corpus of other arguments or sentences; delete it, or name another folder"
        )
    note.write_text(json.dumps(made_from))
    tasks, totals = [], dict.fromkeys(SUBSETS, 0.0)
    for subset, of_subset in chapters.items():
        for chapter in of_subset:
            speaker, number, _ = chapter[0].name.split("-")
            folder = output_dir / "LibriSpeech" / subset / speaker / number
            if folder.is_dir():
                totals[subset] += json.loads((folder / "seconds.json").read_text())
            else:
                tasks.append((folder, chapter))
    with contextlib.ExitStack() as ending:
        mapped = map
        if workers > 1:
            mapped = ending.enter_context(multiprocessing.get_context("spawn").Pool(workers)).imap
        for done, ((folder, _), seconds) in enumerate(zip(tasks, mapped(write_chapter, tasks)), 1):
            totals[folder.parents[1].name] += seconds
            if done % 10 == 0 or done == len(tasks):
                say(f"{done} of {len(tasks)} chapters")
    say(f"{len(texts):,} sentences; " + ", ".join(f"{name} {s / 3600:.2f} hours" for name, s in totals.items()))
    return {name: seconds / 3600 for name, seconds in totals.items()}


def check_espeak():
    """Raises `UserError` where there is no espeak-ng, or it lacks a voice."""
    if not shutil.which("espeak-ng"):
        raise UserError(
            "there is no espeak-ng; install it (Debian: apt-get install espeak-ng; macOS: brew install espeak-ng)"
        )
    listed = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=False).stdout
    known = set(re.findall(r"!v/(\S+)", listed))
    missing = sorted({variant for _, variant in (*VOICES, *UNSEEN)} - known)
    if missing:
        raise UserError(f"this espeak-ng lacks the voices {', '.join(missing)}; install version 1.51 or later")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--hours", type=float, default=5.0, help="of training, about")
    parser.add_argument("--dev_minutes", type=float, default=10.0, help="of each dev set, about")
    parser.add_argument("--text", nargs="*", default=[], metavar="FILE", help="files with more sentences")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    flags = parser.parse_args(argv)
    try:
        if not (flags.hours > 0 and flags.dev_minutes > 0 and flags.workers > 0):
            raise UserError("--hours, --dev_minutes and --workers must be above 0")
        make(flags.output_dir, flags.hours, flags.dev_minutes, flags.seed, flags.text, flags.workers)
    except UserError as error:
        print(f"make_corpus: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
