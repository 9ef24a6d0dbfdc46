"""The models that ship, by name, and the names that problems had in earlier systems."""

from t2t_multimodel import registry
from t2t_multimodel.registry import register_model

# Tensor2Tensor's names, first of 2017, then later ones, → the name here.
_OLD_PROBLEM_NAMES = {
    "wmt_ende_tokens_8k": "wmt_ende",
    "translate_ende_wmt8k": "wmt_ende",
    "image_imagenet": "imagenet",
    "image_ms_coco_tokens_8k": "coco_caption",
    "wsj_parsing_tokens_8k": "wsj_parse",
}

for _old, _name in _OLD_PROBLEM_NAMES.items():
    registry.problems.alias(_old, _name)


@register_model("multimodel", aliases=("multi_model",))
def multimodel(hparams, specs):
    """One model for text, pictures, sound and classes: Kaiser et al. 2017, "One Model To Learn Them All"."""
    from t2t_multimodel.kernels import select
    from t2t_multimodel.models.multimodel import MultiModel

    select.setting()  # refused here: within a layer's call Keras would wrap the error
    return MultiModel(hparams, specs)
