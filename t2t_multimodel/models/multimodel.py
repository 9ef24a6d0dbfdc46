"""The MultiModel: one body between the modality nets of all its problems; Kaiser et al. 2017 (arXiv 1706.05137)."""

import keras
from keras import ops

from t2t_multimodel.errors import UserError
from t2t_multimodel.kernels.cross_entropy import cross_entropy, cross_entropy_split
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.convolution_cache import ConvolutionCache
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.modalities import INPUTS, OUTPUTS, make_net
from t2t_multimodel.models.body import Decoder, Encoder, Mixer


class MultiModel(Layer):
    """Encoder, mixer and decoder shared by all problems; one net for each modality, vocabulary or shape.

    Called on a batch (see docs/architecture.md) with the `ProblemSpec` it belongs to. Problems of the same signature
    run the same graph: which one it is stands in the batch, as the command id of each row.
    """

    def __init__(self, hparams, specs, **kwargs):
        """Args: hparams, an `HParams`; specs, the `ProblemSpec` of every problem the model shall serve."""
        super().__init__(name="multimodel", autocast=False, **kwargs)
        self.hparams = hparams
        self.specs = {spec.name: spec for spec in specs}
        features = {}
        for spec in specs:
            _check_sides(spec)
            features |= {spec.inputs.name: spec.inputs, spec.targets.name: spec.targets}
        autoregressive = any(spec.targets.modality == "text" for spec in specs)
        with keras.name_scope(self.name):
            self.nets = {name: make_net(feature, hparams, name) for name, feature in sorted(features.items())}
            self.encoder = Encoder(hparams, name="encoder")
            self.mixer = Mixer(hparams, name="mixer") if autoregressive else None
            self.decoder = Decoder(hparams, name="decoder") if autoregressive else None
        writers = [self.mixer, self.decoder] if autoregressive else []
        self._history = ConvolutionCache(
            [step for part in writers for step in part.steps], [layer for part in writers for layer in part.prepared]
        )
        self.built = True  # every weight exists from here on

    def call(self, batch, spec, training=False):
        """The forward pass with the right outputs given (teacher forcing).

        Returns:
          logits, [batch, length, vocabulary] for text or [batch, classes]; and the list of the experts' reports.
        """
        outputs, reports = self._outputs(batch, spec, training)
        if spec.targets.modality == "label":
            return outputs, reports
        return self.nets[spec.targets.name].logits(outputs), reports

    def _outputs(self, batch, spec, training):
        """The logits of a class, or what the decoder makes of a text, [batch, length, hidden]; and the reports."""
        source, padding_mask, grid, reports = self.encode(batch, spec, training=training)
        if spec.targets.modality == "label":
            return self.nets[spec.targets.name](source, padding_mask=padding_mask, grid=grid), reports
        net = self.nets[spec.targets.name]
        targets = batch["targets"]
        x = self.mixer(
            net.shifted(targets, batch["command"]), source=source, source_padding_mask=padding_mask, training=training
        )
        target_padding_mask = ops.cast(ops.not_equal(targets, 0), "float32") * batch["example_weights"][:, None]
        x, report = self.decoder(x, target_padding_mask, source, padding_mask, training=training)
        return x, reports + ([report] if report else [])

    def encode(self, batch, spec, training=False):
        """→ encoded inputs [batch, positions, hidden], real [batch, positions], grid of 2-D input or None, reports."""
        x, padding_mask, grid = self.nets[spec.inputs.name](batch, training=training)
        padding_mask = padding_mask * batch["example_weights"][:, None]
        encoded, report = self.encoder(x, padding_mask, training=training)
        return encoded, padding_mask, grid, [report] if report else []

    def loss(self, batch, spec, training=False):
        """The training loss of a batch and what is logged of it.

        Returns:
          loss: mean cross entropy of a target id in nats (smoothed in training) + the experts' balancing losses.
          report: {"cross_entropy", "weight" (targets counted), "load_balance_loss", "dropped_token_fraction",
            "correct", "log_probability", "weights", "logits"}; the last four of every position.
        """
        outputs, reports = self._outputs(batch, spec, training)
        targets = batch["targets"]
        weights = batch["example_weights"]
        if spec.targets.modality == "text":
            weights = ops.cast(ops.not_equal(targets, 0), "float32") * weights[:, None]
        smoothing = self.hparams.label_smoothing if training else 0.0
        if spec.targets.modality == "text":
            losses = cross_entropy_split(self.nets[spec.targets.name].logits, outputs, targets, weights, smoothing)
            total, log_probability, correct, logits = losses
        else:
            logits = outputs
            total, log_probability, correct = cross_entropy(logits, targets, weights, smoothing)
        count = ops.sum(weights)
        mean = total / ops.maximum(count, 1.0)
        zero = ops.zeros((), dtype="float32")
        load_balance_loss = sum((report["load_balance_loss"] for report in reports), zero)
        dropped = sum((report["dropped_token_fraction"] for report in reports), zero) / max(len(reports), 1)
        return mean + load_balance_loss, {
            "cross_entropy": mean,
            "weight": count,
            "load_balance_loss": load_balance_loss,
            "dropped_token_fraction": dropped,
            "correct": correct,
            "log_probability": log_probability,
            "weights": weights,
            "logits": logits,
        }

    def observe(self, batch, spec):
        """What a forward pass with the right outputs given (teacher forcing) looks at and whom it asks; numpy arrays.

        Runs without compilation, as in evaluation (no dropout, no gating noise): for some examples, not for all.

        Args:
          batch: arrays as docs/architecture.md describes them, targets included. spec: the `ProblemSpec`.

        Returns:
          {"attention": {name: float32 [batch, heads, length, positions], each row sums to 1}, of text targets;
              "mixer/attention_block/self_attention" over the targets themselves, the others over the encoded inputs:
              "mixer/attention_block/source/attention", "decoder/source0/attention", … one for each decoder block,
           "experts": {"encoder/experts" and, of text targets, "decoder/experts": float32 [batch, length, experts], the
              gates: 0 for experts not chosen; a real position's sum to 1, a padded one's are 0},
           "source_real": float32 [batch, positions], 1 where an encoded input position is no padding,
           "grid": (height, width) of the encoded positions of a picture, or None}.
          `training/observing.py` sums gates up over batches.
        """
        with intermediates.capture_intermediates() as noted:
            self(batch, spec=spec)
            _, padding_mask, grid = self.nets[spec.inputs.name](batch)
        noted = {name: ops.convert_to_numpy(ops.cast(value, "float32")) for name, value in noted.items()}
        gates = {name for name in noted if name.endswith("experts")}
        return {
            "attention": {name: noted[name] for name in noted if name not in gates},
            "experts": {name: noted[name] for name in noted if name in gates},
            "source_real": ops.convert_to_numpy(padding_mask) * batch["example_weights"][:, None],
            "grid": grid,
        }

    # ---- Decoding, one position at a time (see decoding/). It runs in float32 whatever the precision of training: the
    # functions from here on are not layer calls, where Keras would cast (hence `norm.call` in the layers' steps).

    def prepare(self, source, padding_mask):
        """What every decoding step needs of the encoded inputs: computed once."""
        return {
            "mixer": self.mixer.prepare(source, padding_mask),
            "decoder": self.decoder.prepare(source, padding_mask),
        }

    def constants(self):
        """What decoding needs of the weights alone: computed once."""
        return self._history.constants()

    def initial_state(self, batch, length, beam=1):
        """The state before the first of at most `length` positions, for `beam` rows an example."""
        return {
            "mixer": self.mixer.initial_state(batch, length, beam),
            "history": self._history.initial_state(batch * beam),
        }

    def step(self, ids, targets, constants, cross_attention_cache, state, time, beams=None):
        """Logits of the next id: ids [rows] just written (the command at time 0) → (float32 [rows, vocabulary], state).

        Args:
          targets: the `FeatureSpec` that is written. cross_attention_cache: of `prepare`. constants, state: see there.
          beams: `convolution_cache.Beams` where the rows are hypotheses of a beam search.
        """
        net = self.nets[targets.name]
        position = self._history.position(state["history"], constants, time, beams)
        x = ops.cast(net.embed(ids), "float32")
        x, mixer_state = self.mixer.step(x, cross_attention_cache["mixer"], state["mixer"], position)
        x = self.decoder.step(x, cross_attention_cache["decoder"], position)
        return net.logits(x), {"mixer": mixer_state, "history": self._history.after(position)}

    @property
    def body_variables(self):
        """The trainable variables that the problems share whatever their modalities: encoder, mixer and decoder."""
        parts = [part for part in (self.encoder, self.mixer, self.decoder) if part is not None]
        return [variable for part in parts for variable in part.trainable_variables]

    def trainable_variables_for(self, spec):
        """The trainable variables that a batch of this problem updates, in the order of `trainable_variables`."""
        inputs, targets = self.nets[spec.inputs.name], self.nets[spec.targets.name]
        variables = [*inputs.input_variables, *targets.output_variables, *self.encoder.trainable_variables]
        if spec.targets.modality == "text":
            variables += [*self.mixer.trainable_variables, *self.decoder.trainable_variables]
        mine = {id(v) for v in variables}
        return [v for v in self.trainable_variables if id(v) in mine]


def _check_sides(spec):
    for side, feature, able in (("input", spec.inputs, INPUTS), ("target", spec.targets, OUTPUTS)):
        if feature.modality not in able:
            raise UserError(f"{spec.name}: {feature.modality} can't be a {side}; {side}s are {', '.join(able)}")
