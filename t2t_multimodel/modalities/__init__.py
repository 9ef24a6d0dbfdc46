"""Modality nets: how each kind of data enters the body and leaves it. A new modality is one file and one line here."""

from t2t_multimodel.errors import unknown_name
from t2t_multimodel.modalities.audio import SpectrogramNet, WaveformNet
from t2t_multimodel.modalities.image import ImageNet
from t2t_multimodel.modalities.label import LabelNet
from t2t_multimodel.modalities.text import TextNet

# FeatureSpec.modality → its net. A net is made as Net(spec, hparams, name=…). An input net is called on a batch (→
# sequence, mask, grid); a label net on the encoded inputs (→ logits); a text net is both: `embed` and `logits`.
NETS = {
    "text": TextNet,
    "image": ImageNet,
    "label": LabelNet,
    "audio_spectrogram": SpectrogramNet,
    "audio_waveform": WaveformNet,
}
INPUTS = ("text", "image", "audio_spectrogram", "audio_waveform")
OUTPUTS = ("text", "label")


def make_net(spec, hparams, name):
    """The net of a `FeatureSpec`."""
    if spec.modality not in NETS:
        raise unknown_name("modality", spec.modality, NETS)
    return NETS[spec.modality](spec, hparams, name=name)
