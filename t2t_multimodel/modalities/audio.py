"""Audio: recordings of one channel, stored as 16-bit samples; in, read as a spectrogram or as the waveform."""

import dataclasses
import os
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities import operations, sound_variation
from t2t_multimodel.modalities.arrays import ArraySpec, Ragged, as_ragged
from t2t_multimodel.modalities.base import Modality
from t2t_multimodel.registry import register_modality

FULL_SCALE = 32768.0  # of 16-bit samples


@register_modality
@dataclasses.dataclass(frozen=True)
class Audio(Modality):
    """A recording, int16 PCM [samples], one channel at `rate` Hz; other rates are resampled at generation."""

    modality_name: ClassVar[str] = "audio"
    costly: ClassVar[bool] = True
    reads_files: ClassVar[bool] = True
    in_order: ClassVar[bool] = True
    file_kind: ClassVar[str] = "sound"
    variable_length: ClassVar[bool] = True
    length_unit: ClassVar[str] = "seconds"

    rate: int = 16000
    form: str = "spectrogram"  # what the encoder reads: "spectrogram" or "waveform"
    max_seconds: float = 3600.0  # of a file's recording; a longer one is refused, undecoded

    def __post_init__(self):
        if self.form not in ("spectrogram", "waveform"):
            raise ValueError(f"Audio(form=...) is 'spectrogram' or 'waveform', not {self.form!r}")

    def declaration_fault(self):
        if self.rate < 1:
            return f"must have a rate of at least 1 Hz, not {self.rate!r}"
        return "" if self.max_seconds > 0 else f"must allow max_seconds above 0, not {self.max_seconds!r}"

    # ---- A sample

    def check(self, value):
        if not isinstance(value, np.ndarray) or value.dtype != np.int16 or value.ndim != 1:
            got = getattr(value, "dtype", type(value).__name__)
            raise ValueError(f"a one-dimensional int16 array expected, got {got}")
        if not len(value):
            raise ValueError("the recording has no samples")

    def from_line(self, line):
        if isinstance(line, np.ndarray):
            if line.dtype != np.int16 or line.ndim != 1 or not len(line):
                said = f"not {line.dtype} {line.shape}"
                raise ValueError(f"it must be int16 sound of one channel at {self.rate} Hz, {said}")
            return line
        if isinstance(line, bytes):
            return self.from_media("recording", line)
        if not isinstance(line, (str, os.PathLike)):  # a number would be the descriptor of an open file
            raise ValueError(f"it must be a path, bytes or an array, not {type(line).__name__}")
        return self.from_media(line)

    def from_media(self, name, content=None, seconds=None):
        from t2t_multimodel.data_gen.readers.recordings import read_recording

        return read_recording(name, self.rate, self.max_seconds, content=content, seconds=seconds)

    def limited(self, hparams):
        # (A little more, so that the limit of the model itself is what a client is told.)
        return dataclasses.replace(self, max_seconds=min(self.max_seconds, hparams.max_audio_seconds + 1.0))

    # ---- On disk. (tfds.features.Audio is three times larger and thirty times slower.)

    def stored(self):
        return {"values": ArraySpec("int16", (None,))}

    def encode(self, samples, vocabulary=None):
        return [{"values": sound} for sound in samples]

    def stored_fault(self, arrays):
        return "" if len(arrays["values"]) else "no sound"

    # ---- Batches

    @property
    def weights_name(self):
        return f"audio_{self.form}_{self.rate}"

    def tensors(self):
        return {"values": ((None,), "float32"), "length": ((), "int32")}

    def pad(self, columns, rows, length=0):
        """ "values" float32 [rows, samples] in [-1, 1), then zeros; "length" int32 [rows], in samples."""
        batch = super().pad(columns, rows, length)
        return batch | {"values": batch["values"].astype(np.float32) / FULL_SCALE}

    def longest_varied(self, lengths, hparams):
        return sound_variation.longest(lengths, self.rate, hparams)

    def varied(self, columns, hparams, words):
        """Recordings at one of `audio_speeds` each, with up to `audio_silence_seconds` before and after them."""
        rows = as_ragged(columns["values"]).rows()
        varied = [sound_variation.vary(sound, self.rate, hparams, word) for sound, word in zip(rows, words)]
        return {**columns, "values": Ragged.of(varied)}

    def samples_per_position(self, hparams):
        return self.rate / hparams.audio_positions_per_second

    @property
    def length_per_unit(self):
        return float(self.rate)

    def limit_hparam(self, side):
        return "max_audio_seconds"

    # ---- The nets

    def make_encoder(self, hparams, name):
        from t2t_multimodel.modalities import audio_nets

        kind = audio_nets.SpectrogramEncoder if self.form == "spectrogram" else audio_nets.WaveformEncoder
        return kind(self, hparams, name=name)

    def encoder_operations(self, hparams, rows, length):
        return operations.audio_net(hparams, self, rows, length)

    # ---- For people

    def mean_length_in_words(self, mean):
        return f"{mean / self.rate:.1f} s of sound"

    def lines(self, stored, vocabulary=None):
        said = f"sound, {len(stored) / self.rate:.2f} s at {self.rate} Hz"
        return [("", f"{said}; {_loudness_in_words(stored)}")]

    def write_files(self, stored, captions, stem):
        import soundfile

        from t2t_multimodel.modalities.drawings import draw_spectrograms

        paths = [stem.with_name(f"{stem.name}-{number}.wav") for number in range(1, len(stored) + 1)]
        for path, sound in zip(paths, stored):
            soundfile.write(str(path), sound, self.rate, subtype="PCM_16")
        paths.append(stem.with_name(f"{stem.name}-spectrograms.png"))
        draw_spectrograms(stored, self.rate, captions, paths[-1])
        return paths

    def media(self, stored):
        return "sound", (stored, self.rate)

    def attention_axis(self, stored, grid, vocabulary=None):
        return {"sound": (stored, self.rate)}


def _loudness_in_words(sound):
    levels = np.abs(sound.astype(np.int32))
    loudest = int(levels.max())
    if not loudest:
        return "warning: it is silent"
    clipped = float(np.mean(levels >= 32767))
    said = f"loudest sample {20 * np.log10(loudest / FULL_SCALE):.1f} dB of full scale"
    return said + (f"; warning: {clipped:.1%} of the samples are at full scale" if clipped > 0.001 else "")
