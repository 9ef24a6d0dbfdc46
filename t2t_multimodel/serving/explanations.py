"""An `Explanation` as JSON: numbers for words, small pictures for what the model saw and heard."""

import base64
import io
from typing import Any

import numpy as np

from t2t_multimodel.serving.protocols import answer_as_json

_DIGITS = 4  # of weights
_MOST_FRAMES = 800  # columns of the picture of a spectrogram
_QUIETEST = 80.0  # dB under the loudest place of a spectrogram, drawn as black


def explanation_response(explanation: Any, seconds: float) -> dict[str, Any]:
    """The body of an answer of `/explain`.

    Args:
      explanation: of `Predictor.explain`. seconds: that it took.

    Returns:
      {"answer",
       "pieces": what was written, piece by piece; [] of an answer that is not written so,
       "attention": of each piece a list of weights over the encoded positions of the input, which sum to 1 (mean over
         heads and the decoder's blocks); null of no attention,
       what the positions are, one of these or none: "positions": their names; "picture": {"image" (the picture that the
         model saw, a data URI), "rows", "columns"}; "sound": {"spectrogram" (a data URI), "seconds"},
       "experts": {"encoder", "decoder": the share of each expert}, {} without experts,
       "milliseconds": that the model took}.
    """
    weights = explanation.mean_attention
    return {
        "answer": answer_as_json(explanation.answer),
        "pieces": explanation.pieces,
        "attention": None if weights is None else np.round(weights.astype(np.float64), _DIGITS).tolist(),
        **_axis(explanation.axis),
        "experts": {
            part: np.round(of.astype(np.float64), _DIGITS).tolist() for part, of in explanation.experts.items()
        },
        "milliseconds": round(1e3 * seconds, 1),
    }


def _axis(axis: dict[str, Any]) -> dict[str, Any]:
    """What a `Modality.attention_axis` is in JSON."""
    if "positions" in axis:
        return {"positions": axis["positions"]}
    if axis.get("grid") is not None:
        rows, columns = axis["grid"]
        return {"picture": {"image": _png(axis["picture"]), "rows": int(rows), "columns": int(columns)}}
    if "sound" in axis:
        samples, rate = axis["sound"]
        return {"sound": {"spectrogram": _png(_spectrogram(samples, rate)), "seconds": round(len(samples) / rate, 3)}}
    return {}


def _spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """A picture uint8 [frequencies, frames, 1] of a recording, low frequencies at the bottom."""
    from t2t_multimodel.modalities.drawings import spectrogram

    level = spectrogram(samples, rate)
    level = level[:: -(-len(level) // _MOST_FRAMES)]
    shown = np.clip(1 + (level - level.max()) / _QUIETEST, 0, 1)
    return np.round(255 * shown.T[::-1, :, None]).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    """The data URI of a PNG of uint8 [height, width, channels]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
