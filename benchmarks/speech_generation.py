"""Speech into examples, how many times faster than it is spoken: SPHERE, SPHERE compressed by shorten, FLAC; 2 workers.

    python benchmarks/speech_generation.py [minutes]

The utterances are noise of eight seconds at 16 kHz with a spectrum like speech's, in the folders that `wsj_speech` and
`librispeech` read; the whole of `t2t-datagen` is timed. The limit beside it is what one processor decodes and no more.
"""

import pathlib
import sys
import tempfile
import time

import numpy as np
import soundfile
from common import figure, report

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
from sphere_files import sphere_bytes  # noqa: E402

RATE, SECONDS, WORKERS = 16000, 8, 2
TARGET = 200  # times real time
_DIFFERENT = 8  # recordings; the rest are copies


def main(minutes=60):
    utterances = minutes * 60 // SECONDS
    for name, make in (
        ("wsj_speech", wsj("pcm")),
        ("wsj_speech", wsj("pcm,embedded-shorten-v1.09")),
        ("librispeech", librispeech),
    ):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            recordings, form = make(folder, utterances)
            decoding = decode(recordings)
            spoken, taken = generate(folder, name)
            report(
                "speech_generation",
                [
                    figure(
                        f"t2t-datagen of {name}, {form}, {WORKERS} workers",
                        spoken / taken,
                        "times real time",
                        at_least=TARGET,
                        limit=decoding,
                        limit_is="decoding alone, one processor",
                    )
                ],
                problem=name,
                form=form,
                workers=WORKERS,
                spoken_seconds=spoken,
                seconds=taken,
            )


def generate(folder, name):
    """(seconds of speech, seconds taken) of `t2t-datagen`'s work, TensorFlow's import and the vocabulary included."""
    from t2t_multimodel import registry
    from t2t_multimodel.data_gen import generate
    from t2t_multimodel.data_gen.readers import corpora

    corpora.set_folders(folder / "data", folder / "manual")
    start = time.perf_counter()
    (result,) = generate.generate(
        [registry.problem(name)], folder / "data", workers=WORKERS, log=lambda line: None, progress=False
    )
    taken = time.perf_counter() - start
    return sum(split["input_tokens"] for split in result.manifest["splits"].values()) / RATE, taken


def decode(recordings):
    """How many times real time one processor reads recordings."""
    from t2t_multimodel.data_gen.readers.recordings import read_recording

    recordings = recordings[:100]
    start = time.perf_counter()
    samples = sum(len(read_recording(path, RATE)) for path in recordings)
    return samples / RATE / (time.perf_counter() - start)


def wsj(coding):
    def make(folder, utterances):
        root = folder / "manual" / "wsj_speech"
        contents = [sphere_bytes(sound, coding=coding) for sound in sounds()]
        lists = {
            "wsj0/doc/indices/train/tr_s_wv1.ndx": utterances,
            "wsj1/doc/indices/si_tr_s.ndx": 0,
            "wsj1/doc/indices/h1_p0.ndx": 1,
            "wsj0/doc/indices/test/nvp/si_et_20.ndx": 1,
        }
        recordings = []
        for number, (index, count) in enumerate(lists.items()):
            names = [f"{number}{i // 100:02x}c{i % 100:04d}" for i in range(count)]
            inside = [f"wsj0/si_tr_s/{name[:3]}/{name}.wv1" for name in names]
            write(root / "11-13.1" / index, "".join(f"11_1_1:{path}\n" for path in inside).encode())
            lines = "".join(f"{words(i)} ({name})\n" for i, name in enumerate(names))
            write(root / "11-4.1" / "dots" / f"{number}.dot", lines.encode())
            for i, path in enumerate(inside):
                recordings.append(write(root / "11-1.1" / path, contents[i % _DIFFERENT]))
        return recordings, f"SPHERE {coding}"

    return make


def librispeech(folder, utterances):
    recordings = []
    for subset, count in (("train-clean-100", utterances), ("dev-clean", 1), ("test-clean", 1)):
        speaker = {"train-clean-100": 1, "dev-clean": 2, "test-clean": 3}[subset]
        chapter = folder / "manual" / "librispeech" / "LibriSpeech" / subset / str(speaker) / "7"
        names = [f"{speaker}-7-{i:04d}" for i in range(count)]
        lines = "".join(f"{name} {words(i).upper()}\n" for i, name in enumerate(names))
        write(chapter / f"{speaker}-7.trans.txt", lines.encode())
        if subset == "train-clean-100":
            contents = []
            for sound in sounds():
                soundfile.write(folder / "one.flac", sound, RATE)
                contents.append((folder / "one.flac").read_bytes())
        for i, name in enumerate(names):
            recordings.append(write(chapter / f"{name}.flac", contents[i % _DIFFERENT]))
    return recordings, "FLAC"


def sounds():
    """Recordings of `SECONDS`: noise that falls by 6 dB an octave, loud and soft as syllables are."""
    for seed in range(_DIFFERENT):
        random = np.random.default_rng(seed)
        noise = random.normal(size=RATE * SECONDS)
        for i in range(1, len(noise)):
            noise[i] += 0.95 * noise[i - 1]
        loudness = np.sin(np.arange(len(noise)) / RATE * 2 * np.pi * 2) ** 2
        yield np.clip(noise * loudness * 400, -32768, 32767).astype(np.int16)


def words(number):
    random = np.random.default_rng(number)
    syllables = ("ba", "ko", "ri", "tel", "um", "sha", "ne", "do")
    return " ".join("".join(random.choice(syllables, random.integers(1, 4))) for _ in range(18))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
