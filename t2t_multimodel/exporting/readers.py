"""What callers send to an exported model, by `Modality.file_kind`: text, encoded pictures, WAV; read in the graph.

arrays(raw)        strings, a tensor [batch] → {name: tensor [batch, …]} of `Modality.tensors`; TensorFlow operations
sample(stored)     a sample as the example store has it → what `Predictor.decode` takes
made_up(random)    a sample of nothing in particular, where there is no data
encoded(sample)    a sample as bytes, as a caller sends it
"""

import io
from typing import Any

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.vocabulary import EOS_ID, PAD_ID

_PNG, _BMP = b"\x89PNG\r\n\x1a\n", b"BM"
_MADE_UP_PIECES, _MADE_UP_SECONDS = 8, 1.0


def reader_of(modality: Any, vocabulary: Any) -> Any:
    """The reader of a modality, or of one member of several inputs.

    Raises:
      UserError: the modality is read from arrays alone.
    """
    if modality.file_kind not in READERS:
        known = ", ".join(READERS)
        raise UserError(
            f"inputs of {modality.modality_name} can't be exported: they are arrays, and an export reads one of {known}"
        )
    return READERS[modality.file_kind](modality, vocabulary)


class TextReader:
    """UTF-8 text, cut into ids in the graph. Bytes that are not UTF-8 are read as U+FFFD."""

    content = "text, UTF-8"

    def __init__(self, modality, vocabulary):
        self._vocabulary = vocabulary
        self._units = modality.units

    def arrays(self, raw):
        import tensorflow as tf

        ids = self._vocabulary.in_graph().tokenize(raw, self._units)
        end = tf.fill([tf.shape(raw)[0], 1], EOS_ID)
        return {"values": tf.concat([ids, end], axis=1).to_tensor(PAD_ID)}

    def sample(self, stored):
        return self._vocabulary.decode(np.asarray(stored).tolist())

    def made_up(self, random):
        ids = [i for i in range(self._vocabulary.size) if self._vocabulary.is_text(i)]
        pieces = self._vocabulary.pieces(random.choice(ids, _MADE_UP_PIECES))
        words = [piece.replace("\u2581", " ") for piece in pieces if not piece.startswith("<0x")]
        return " ".join("".join(words).split()) or "a"

    def encoded(self, sample):
        return sample.encode()


class PictureReader:
    """A picture as a PNG, JPEG, GIF (its first frame) or BMP file; converted and resized as `read_picture` does.

    A picture of the model's size gives the same pixels; a larger one the same up to rounding, but a JPEG that
    `read_picture` decodes at a part of its size. The EXIF orientation is not looked at.
    """

    content = "a picture: PNG, JPEG, GIF or BMP"

    def __init__(self, modality, vocabulary):
        self._modality = modality

    def arrays(self, raw):
        import tensorflow as tf

        signature = tf.TensorSpec(self._modality.shape, tf.uint8)
        return {"values": tf.map_fn(self._read, raw, fn_output_signature=signature)}

    def _read(self, content):
        import tensorflow as tf

        def begins_with(mark):
            return tf.strings.substr(content, 0, len(mark)) == mark

        def of_png():
            x = tf.cast(tf.io.decode_png(content, channels=4), tf.int32)
            if self._modality.channels == 4:
                return x
            opacity = x[..., 3:]
            return (x[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255  # transparent pixels become white

        def of_bmp():  # of one channel, three or four; `decode_bmp` changes none into another
            x = tf.io.decode_bmp(content)
            return tf.gather(x, tf.minimum([0, 1, 2], tf.shape(x)[-1] - 1), axis=-1)

        def of_jpeg():  # decode_jpeg reads GIF too, and can be told the exact cosine transform
            return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")

        def of_others():
            x = tf.cast(tf.cond(begins_with(_BMP), of_bmp, of_jpeg), tf.int32)
            opaque = tf.fill(tf.concat([tf.shape(x)[:2], [1]], 0), 255)
            return tf.concat([x, opaque], axis=-1) if self._modality.channels == 4 else x

        x = tf.cond(begins_with(_PNG), of_png, of_others)
        if self._modality.channels == 1:  # ITU-R 601-2, as Pillow rounds it
            x = (tf.reduce_sum(x * [19595, 38470, 7471], axis=-1, keepdims=True) + 0x8000) // 65536
        x = tf.ensure_shape(x, [None, None, self._modality.channels])
        size = [self._modality.height, self._modality.width]
        x = tf.cond(tf.reduce_all(tf.shape(x)[:2] == size), lambda: x, lambda: self._resized(x, size))
        return tf.ensure_shape(tf.cast(x, tf.uint8), self._modality.shape)

    def _resized(self, x, size):
        import tensorflow as tf

        before = tf.cast(tf.shape(x)[:2], tf.float32)
        scale = tf.constant(size, tf.float32) / before
        if self._modality.fit == "crop":
            scale = tf.fill([2], tf.reduce_max(scale))
        # The middle: what is left over is cut at both sides.
        translation = (tf.constant(size, tf.float32) - before * scale) / 2
        x = tf.cast(x, tf.float32)
        transparent = self._modality.channels == 4  # what is hardly visible must not colour its neighbours
        if transparent:
            x = tf.concat([tf.round(x[..., :3] * x[..., 3:] / 255), x[..., 3:]], axis=-1)
        resized = tf.raw_ops.ScaleAndTranslate(
            images=x[None],
            size=size,
            scale=scale,
            translation=translation,
            kernel_type="triangle",
            antialias=True,
        )[0]
        resized = tf.round(resized)
        if transparent:
            opacity = tf.maximum(resized[..., 3:], 1)
            resized = tf.concat([tf.floor(resized[..., :3] * 255 / opacity), resized[..., 3:]], axis=-1)
        return tf.cast(tf.clip_by_value(resized, 0, 255), tf.int32)

    def sample(self, stored):
        return np.asarray(stored)

    def made_up(self, random):
        return random.integers(0, 256, self._modality.shape, np.uint8)

    def encoded(self, sample):
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(sample[..., 0] if sample.shape[-1] == 1 else sample).save(content, "PNG")
        return content.getvalue()


class SoundReader:
    """A recording as a WAV file of 16 bits; its channels are averaged, another rate is resampled."""

    content = "a recording: WAV, 16 bits"

    def __init__(self, modality, vocabulary):
        self._rate = modality.rate

    def arrays(self, raw):
        import tensorflow as tf

        signature = tf.RaggedTensorSpec([None], tf.float32, 0)
        sounds = tf.map_fn(self._read, raw, fn_output_signature=signature)
        return {"values": sounds.to_tensor(0.0), "length": tf.cast(sounds.row_lengths(), tf.int32)}

    def _read(self, content):
        import tensorflow as tf

        x, rate = tf.audio.decode_wav(content)
        x = tf.reduce_mean(x, axis=1)

        def resampled():  # through the Fourier transform, which keeps what both rates hold
            before = tf.shape(x)[0]
            after = tf.cast(before, tf.float64) * self._rate / tf.cast(rate, tf.float64)
            after = tf.maximum(tf.cast(tf.round(after), tf.int32), 1)
            spectrum, kept = tf.signal.rfft(x), after // 2 + 1
            spectrum = tf.pad(spectrum, [[0, tf.maximum(kept - tf.shape(spectrum)[0], 0)]])[:kept]
            return tf.signal.irfft(spectrum, [after]) * tf.cast(after / before, tf.float32)

        x = tf.cond(rate == self._rate, lambda: x, resampled)
        return tf.clip_by_value(tf.round(x * 32768.0), -32768, 32767) / 32768.0

    def sample(self, stored):
        return np.asarray(stored)

    def made_up(self, random):
        return random.integers(-8000, 8000, int(self._rate * _MADE_UP_SECONDS)).astype(np.int16)

    def encoded(self, sample):
        import soundfile

        content = io.BytesIO()
        soundfile.write(content, sample, self._rate, format="WAV", subtype="PCM_16")
        return content.getvalue()


class NothingReader:
    """A problem without inputs: a string for each answer that is wanted, which is not looked at."""

    content = "not looked at; one string for each answer"

    def __init__(self, modality, vocabulary):
        pass

    def arrays(self, raw):
        import tensorflow as tf

        return {"values": tf.zeros([tf.shape(raw)[0]], tf.int32)}

    def sample(self, stored):
        return None

    def made_up(self, random):
        return None

    def encoded(self, sample):
        return b""


READERS = {"text": TextReader, "picture": PictureReader, "sound": SoundReader, "nothing": NothingReader}
