"""The mixtures of the paper's eight tasks: on the paper's corpora, and on corpora that everybody may have.

Only names stand here: a mixture looks its problems up when it is asked for. `t2t-datagen --problem=paper8
--skip_missing` makes those whose corpora are there, and names the others.
"""

from t2t_multimodel.mixture import Mixture
from t2t_multimodel.registry import register_mixture

_TRANSLATION = ("wmt_ende", "wmt_deen", "wmt_enfr", "wmt_fren")  # free, and the paper's own: in both

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
