"""The mixtures of the paper's eight tasks: on the paper's corpora, and on free corpora.

A mixture holds names only; its problems are looked up when it is used. `t2t-datagen --problem=paper8 --skip_missing`
generates the problems with existing corpora, and lists the others.
"""

from t2t_multimodel.mixture import Mixture
from t2t_multimodel.registry import register_mixture

_TRANSLATION = ("wmt_ende", "wmt_deen", "wmt_enfr", "wmt_fren")  # the paper's corpora, which are free

register_mixture(
    Mixture(
        "paper8",
        "the paper's eight (Kaiser et al. 2017, §3): speech, pictures, captions, parsing and translation, equal shares",
        ("wsj_speech", "imagenet", "coco_caption", "wsj_parse", *_TRANSLATION),
    )
)

register_mixture(
    Mixture(
        "open8",
        "paper8 on free corpora: LibriSpeech for WSJ, CIFAR-10 for ImageNet, GUM for the Penn Treebank",
        ("librispeech", "cifar10", "coco_caption", "gum_parse", *_TRANSLATION),
    )
)
