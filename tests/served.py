"""t2t-server with a made-up model that needs no tensorflow: python served.py PORT_FILE DELAY [flags of t2t-server].

Its answers say what it was asked, so that a test sees whose answer it got.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np

from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.decoding.explanation import Explanation
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.modalities import Audio, Image, Inputs, Label, ProblemSpec, Text

SPECS = {
    "words": (Text(), Text()),
    "shades": (Image(8, 8, 3), Label(classes=("dark", "light"))),
    "captions": (Image(8, 8, 3), Text()),
    "tones": (Audio(8000), Text()),
    "melody": (Audio(8000), Text()),
    "asked": (Inputs((("picture", Image(8, 8, 3)), ("question", Text()))), Text()),
}
MOST_WORDS = 50
NOTES = {"do": 500, "re": 800, "mi": 1100, "fa": 1400, "so": 1700}  # Hz


class MadeUp:
    """Answers as a `Predictor` does, after `delay` seconds a batch."""

    hparams = HParams(max_audio_seconds=4.0, batch_examples=64)
    problems = sorted(SPECS)
    step = 7

    def __init__(self, delay=0.0):
        self._delay = delay

    def spec(self, problem):
        return ProblemSpec(problem, *SPECS[problem])

    def decode_settings(self, problem, /, **decode_hparams):
        return decode_settings(decode_hparams, {}, problem)

    def longest_answer(self, problem, **decode_hparams):
        return 64

    def check(self, problem, value):
        modality = SPECS[problem][0].limited(self.hparams)
        try:
            sample = modality.from_line(value)
            modality.check(sample)
        except (ValueError, OSError, TypeError) as error:
            raise UserError(f"{problem}: {error}") from None
        if isinstance(sample, str) and len(sample.split()) > MOST_WORDS:
            raise UserError(f"{problem}: the input is longer ({len(sample.split())}) than any in training; split it")
        return sample

    def warm(self, problem, sizes, stream=False, **decode_hparams):
        assert all(0 < size <= self.hparams.batch_examples for size in sizes)

    def writes_text(self, problem):
        return SPECS[problem][1].is_text

    def stream(self, problem, sample, pace=lambda: 1, first_row=0, **settings):
        words = numbered(answer_to(problem, sample), first_row, settings).split(" ")
        for count in range(1, len(words) + 1):
            time.sleep(self._delay)
            if words[count - 1] == "BREAK":
                raise RuntimeError("the model is broken")
            assert pace() in (1, 8)
            yield " ".join(words[:count])

    def explain(self, problem, sample, **settings):
        """Each piece looks at the place of its own number, or at the last one."""
        time.sleep(self._delay)
        answer = answer_to(problem, sample)
        pieces = [*answer.split(), "⏎"] if self.writes_text(problem) else []
        axis, positions = {}, 5
        if isinstance(sample, str):
            axis = {"positions": [*sample.split(), "⏎"]}
            positions = len(axis["positions"])
        elif not isinstance(sample, dict):
            axis = {"sound": (sample, 8000)} if sample.ndim == 1 else {"picture": sample, "grid": (2, 2)}
        rows = np.eye(positions, dtype=np.float32)[np.minimum(np.arange(len(pieces)), positions - 1)]
        experts = {part: np.array([0.5, 0.25, 0.25]) for part in ("encoder", "decoder")[: 1 + bool(pieces)]}
        return Explanation(answer, pieces, {"decoder/source0": rows} if pieces else {}, axis, experts)

    def decode(self, problem, samples, row_numbers=None, **settings):
        time.sleep(self._delay)
        if any(isinstance(sample, str) and "break the model" in sample for sample in samples):
            raise RuntimeError("the model is broken")
        answers = [numbered(answer_to(problem, sample), row, settings) for sample, row in zip(samples, row_numbers)]
        count = settings["return_beams"]
        return [[(f"{a} {i}" if i else a, float(-i)) for i in range(count)] for a in answers] if count else answers


def refused(response, status, words):
    assert response.status_code == status, response.text
    said = response.json()["error"]
    assert words in said and "\n" not in said, said


def numbered(answer, row, settings):
    """With a seed an answer says its number, as sampled ones differ by it."""
    return f"{answer} {row}" if settings["seed"] else answer


def answer_to(problem, sample):
    if isinstance(sample, dict):
        return f"{answer_to('shades', sample['picture'])} {sample['question'].upper()}"
    if isinstance(sample, str):
        return sample.upper()
    if problem == "melody":
        return " ".join(notes_in(sample, 8000))
    if sample.ndim == 1:
        return f"{len(sample)} samples"
    return ("dark", "light")[int(sample.mean() > 127)]


@contextlib.contextmanager
def server(*flags, delay=0.0, log=None):
    """A server in a process of its own: yields it, with `url`. It is ended by SIGTERM unless it has ended."""
    command = [sys.executable, __file__, str(delay), "--output_dir=none", "--port=0", "--drain_seconds=0", *flags]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
    )
    process.log = []
    ready = threading.Event()

    def read():
        for line in process.stdout:
            process.log.append(line)
            if "ready after" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(60) and process.poll() is None, process.log
        process.url = next(line for line in process.log if "listening" in line).split()[2].removesuffix(";").rstrip("/")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            reader.join(10)


def raw(url, request):
    """The bytes that a server answers to the bytes of a request."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def picture(value, size=8, form="PNG"):
    """The bytes of a picture of one grey."""
    import io

    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.fromarray(np.full((size, size, 3), value, np.uint8)).save(file, format=form)
    return file.getvalue()


def recording(seconds, rate=8000):
    """The bytes of a WAV file with a tone."""
    return wav(0.3 * np.sin(np.arange(int(seconds * rate)) * 0.3), rate)


def melody(rate=8000, seconds=0.25):
    """The bytes of a WAV file with all `NOTES`, one after the other."""
    time = np.arange(int(seconds * rate)) / rate
    return wav(np.concatenate([0.3 * np.sin(2 * np.pi * frequency * time) for frequency in NOTES.values()]), rate)


def notes_in(sample, rate):
    """The names of the notes of a melody, in their order; one is heard where it lasts for two frames of 50 ms."""
    size, heard, before = rate // 20, [], None
    for start in range(0, len(sample) - size + 1, size):
        strength = np.abs(np.fft.rfft(sample[start : start + size] * np.hanning(size)))
        peak = np.argmax(strength) * rate / size
        note = min(NOTES, key=lambda name: abs(NOTES[name] - peak))
        note = note if abs(NOTES[note] - peak) <= 40 and strength.max() > size * 100 else None
        if note and note == before and heard[-1:] != [note]:
            heard.append(note)
        before = note
    return heard


def wav(samples, rate):
    """The bytes of a WAV file of 16 bits."""
    import io

    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def numbers(client, url=""):
    """{name with its labels: value} of what a server counts. Args: client: httpx, or a client of it for one server."""
    lines = client.get(url + "/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def eventually(holds):
    for _ in range(400):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to hold")


if __name__ == "__main__":
    from t2t_multimodel import predictor, startup
    from t2t_multimodel.cli.server import main

    made_up = MadeUp(float(sys.argv[1]))
    predictor.load = lambda *_, **__: made_up
    startup.import_tensorflow = lambda: None
    sys.exit(main(sys.argv[2:]))
