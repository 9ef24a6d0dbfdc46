"""Parts of a model by name: which weights are frozen, and which learn at another rate.

A part is `body`, a kind of data of one of the problems (`text`, `image`, …: all its nets), or a piece of a variable's
path (`encoder`, `experts`, `decoder/block0`).
"""

from keras import ops

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.hyperparameter_limits import frozen_parts, scales_by_part


def set_parts(model, optimizer, hparams):
    """Freezes the parts that `hparams.freeze` names, and scales updates as `hparams.learning_rate_scale` says.

    A frozen weight and its optimizer slots stay as they are, bit for bit. Call it once, when the optimizer is built.

    Args:
      model: a built model. optimizer: the Keras optimizer of its trainable variables.

    Raises:
      UserError: a part that the model lacks, or a problem has no weight left to train, or gradient surgery has none.
    """
    if not hparams.freeze and not hparams.learning_rate_scale:
        return
    frozen = _chosen(model, frozen_parts(hparams), "freeze")
    scales = {}  # id of a variable → factor; a later part has the last word
    for name, factor in scales_by_part(hparams.learning_rate_scale).items():
        scales |= dict.fromkeys(_chosen(model, [name], "learning_rate_scale"), factor)
    for variable in list(model.trainable_variables):
        if id(variable) in frozen:
            variable.trainable = False
    for spec in model.specs.values() if frozen else ():
        if not model.trainable_variables_for(spec):
            raise UserError(f"freeze={hparams.freeze!r} leaves nothing of {spec.name} to train; freeze fewer parts")
    if hparams.gradient_surgery and not model.body_variables:
        raise UserError(
            f"gradient_surgery is of the gradients of the body, and freeze={hparams.freeze!r} leaves nothing of it to "
            "train; set gradient_surgery=False, or freeze fewer parts"
        )
    scales = {i: factor for i, factor in scales.items() if factor != 1 and i not in frozen}
    if scales:
        _scale_updates(optimizer, scales)


def part_of(path):
    """The part that a table shows a variable of a model in: a net, encoder, mixer, decoder, or the experts of one."""
    names = path.split("/")[1:]  # the first is the model's
    return f"{names[0]}/experts" if "experts" in names[1:3] else names[0]


def _chosen(model, names, where):
    """The ids of the trainable variables of the parts."""
    variables = model.trainable_variables
    kinds = _nets_by_kind(model)
    chosen = set()
    for name in names:
        if name == "body":
            found = {id(v) for v in model.body_variables}
        elif name in kinds:
            found = {id(v) for v in variables if v.path.split("/")[1] in kinds[name]}
        else:
            found = {id(v) for v in variables if f"/{name.strip('/')}/" in f"{v.path}/"}
        if not found:
            firsts = {v.path.split("/")[1] for v in variables}
            experts = {"experts"} if any("/experts/" in v.path for v in variables) else set()
            raise unknown_name(f"part in {where}", name, {"body", *kinds, *firsts, *experts})
        chosen |= found
    return chosen


def _nets_by_kind(model):
    """{name of a modality: the names of its nets}."""
    kinds = {}
    for spec in model.specs.values():
        for modality, net in (
            (spec.inputs, model.input_encoder(spec)),
            (spec.targets, model.head(spec)),
            (spec.targets, model.aligned_net(spec)),
        ):
            if net is not None:
                kinds.setdefault(modality.modality_name, set()).add(net.name)
        for _, member in spec.inputs.members:
            kinds.setdefault(member.modality_name, set()).add(member.weights_name)
    return kinds


def _scale_updates(optimizer, scales):
    """Has `optimizer.apply` move each variable whose id is in `scales` by that share of its update, decay included."""
    apply = optimizer.apply

    def scaled(gradients, variables):
        # A copy: on TensorFlow `convert_to_tensor` gives back the variable, which would be read after its update.
        slow = [(v, ops.copy(v)) for v in variables if id(v) in scales]
        apply(gradients, variables)
        for variable, before in slow:
            variable.assign(before + scales[id(variable)] * (variable - before))

    optimizer.apply = scaled
