"""Modalities: each owns one kind of data, from a person's sample to the model's arrays and back to an answer.

A modality is a class derived from `Modality` (base.py) and registered with `@register_modality`. Its numpy half, which
data generation uses, is `<name>.py`. Its Keras half, the nets, is `<name>_nets.py`, imported when a model is made.
"""

from t2t_multimodel.modalities.arrays import ArraySpec, Ragged
from t2t_multimodel.modalities.audio import Audio
from t2t_multimodel.modalities.base import Modality
from t2t_multimodel.modalities.image import Image
from t2t_multimodel.modalities.label import Label
from t2t_multimodel.modalities.label_set import LabelSet
from t2t_multimodel.modalities.no_input import NoInput
from t2t_multimodel.modalities.numbers import Numbers
from t2t_multimodel.modalities.several import Inputs, as_modality
from t2t_multimodel.modalities.spec import ProblemSpec
from t2t_multimodel.modalities.text import Text

__all__ = [
    "ArraySpec",
    "Audio",
    "Image",
    "Inputs",
    "Label",
    "LabelSet",
    "Modality",
    "NoInput",
    "Numbers",
    "ProblemSpec",
    "Ragged",
    "Text",
    "as_modality",
]
