"""Label sets out: a yes or no for each label, from the pooled encoding."""

from keras import ops

from t2t_multimodel.modalities.pooled_head import PooledHead


class LabelSetHead(PooledHead):
    """Outputs are a logit for each label, [B, labels]."""

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(len(modality.labels), hparams, **kwargs)

    def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
        """Binary cross entropy of each label; smoothing draws the targets 0 and 1 towards 1/2. See `Head.loss`."""
        right = ops.cast(targets["values"], "float32")
        right = right * (1.0 - label_smoothing) + 0.5 * label_smoothing
        loss = ops.softplus(outputs) - right * outputs
        weights = ops.broadcast_to(example_weights[:, None], ops.shape(loss))
        return ops.sum(loss * weights), {"weights": weights, "loss": loss}

    def predict(self, outputs):
        """ "values" float32 [B, labels], the labels' probabilities."""
        return {"values": ops.sigmoid(outputs)}
