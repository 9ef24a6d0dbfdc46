"""The MultiModel: one body between the modality nets of all its problems; Kaiser et al. 2017 (arXiv 1706.05137)."""

import keras
from keras import ops

from t2t_multimodel.errors import UserError
from t2t_multimodel.kernels.ctc import best_path
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.convolution_cache import ConvolutionCache
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.models.body import Decoder, Encoder, Mixer
from t2t_multimodel.models.observation import by_kind, monotonicity


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
        for spec in specs:
            _check_sides(spec)
        read = {m.weights_name: m for spec in specs for m in (spec.inputs, *(m for _, m in spec.inputs.members))}
        written = {spec.targets.weights_name: spec.targets for spec in specs}
        self.nets, self._encoders, self._heads = {}, {}, {}
        with keras.name_scope(self.name):
            for name, modality in sorted((read | written).items(), key=lambda item: (bool(item[1].members), item[0])):
                parts = [self.nets[self._encoders[member.weights_name]] for _, member in modality.members]
                encoder, head = modality.make_nets(
                    hparams, name in read, name in written, **({"parts": parts} if parts else {})
                )
                for net, kind in ((encoder, self._encoders), (head, self._heads)):
                    if net is not None:
                        self.nets[net.name] = net
                        kind[name] = net.name
            self._aligned = self._aligned_nets(specs) if hparams.ctc_weight else {}
            autoregressive = any(self.head(spec).autoregressive for spec in specs)
            self.encoder = Encoder(hparams, name="encoder")
            self.mixer = Mixer(hparams, name="mixer") if autoregressive else None
            self.decoder = Decoder(hparams, name="decoder") if autoregressive else None
        writers = [self.mixer, self.decoder] if autoregressive else []
        self._history = ConvolutionCache(
            [step for part in writers for step in part.steps], [layer for part in writers for layer in part.prepared]
        )
        self.built = True  # every weight exists from here on

    def input_encoder(self, spec):
        """The net that reads the inputs of a problem."""
        return self.nets[self._encoders[spec.inputs.weights_name]]

    def head(self, spec):
        """The `Head` that makes the targets of a problem."""
        return self.nets[self._heads[spec.targets.weights_name]]

    def aligned_net(self, spec):
        """The net that reads the targets of a problem off its encoded inputs in order (CTC); None: it has none."""
        return self.nets.get(self._aligned.get(spec.targets.weights_name)) if spec.inputs.in_order else None

    def _aligned_nets(self, specs):
        """Makes the nets of `aligned_net`; {weights name of the targets: name of its net}."""
        names = {}
        for name, modality in sorted({s.targets.weights_name: s.targets for s in specs if s.inputs.in_order}.items()):
            net = modality.make_aligned_net(self.hparams, modality.aligned_name)
            if net is not None:
                self.nets[net.name] = net
                names[name] = net.name
        return names

    def call(self, batch, spec, training=False):
        """The forward pass with the right outputs given (teacher forcing).

        Returns:
          logits [B, T, vocabulary] of an autoregressive head, the outputs of another; and the list of the experts'
          reports.
        """
        source = self.encode(batch, spec, training=training)
        outputs, reports = self._outputs(batch, spec, source, training)
        head = self.head(spec)
        return (head.logits(outputs) if head.autoregressive else outputs), reports

    def _outputs(self, batch, spec, encoded, training):
        """What a head makes of the encoded inputs, or what the decoder gives to an autoregressive one; the reports.

        Args: encoded: of `encode`.
        """
        source, padding_mask, grid, reports = encoded
        head = self.head(spec)
        if not head.autoregressive:
            return head(source, padding_mask=padding_mask, grid=grid), reports
        targets = spec.targets.of_batch(batch, "targets")
        shifted = head.shifted(targets, batch["command"])
        x = self.mixer(shifted, source=source, source_padding_mask=padding_mask, training=training)
        target_padding_mask = head.padding_mask(targets) * batch["example_weights"][:, None]
        x, report = self.decoder(x, target_padding_mask, source, padding_mask, training=training)
        return x, reports + ([report] if report else [])

    def encode(self, batch, spec, training=False):
        """→ encoded inputs [B, S, d], padding_mask [B, S], grid of two-dimensional input or None, reports."""
        x, padding_mask, grid = self.input_encoder(spec)(spec.inputs.of_batch(batch, "inputs"), training=training)
        padding_mask = padding_mask * batch["example_weights"][:, None]
        encoded, report = self.encoder(x, padding_mask, training=training)
        return encoded, padding_mask, grid, [report] if report else []

    def loss(self, batch, spec, training=False):
        """The training loss of a batch and what is logged of it.

        Returns:
          loss: the mean of the head's loss over targets (cross entropy in nats for text and classes, smoothed in
            training) + the experts' load balancing losses. Of a problem with an `aligned_net`, the mean and that
            net's loss, also by target, are mixed by `ctc_weight`.
          report: {"cross_entropy" (that mean), "weight" (targets counted), "load_balance_loss",
            "dropped_token_fraction", "ctc_loss" and "ctc_too_long" (share of texts without a way to fit) where there is
            an `aligned_net`, and what the head reports of every target: "weights" and its `statistics`}.
        """
        encoded = self.encode(batch, spec, training=training)
        outputs, reports = self._outputs(batch, spec, encoded, training)
        smoothing = self.hparams.label_smoothing if training else 0.0
        targets = spec.targets.of_batch(batch, "targets")
        total, of_targets = self.head(spec).loss(outputs, targets, batch["example_weights"], smoothing)
        count = ops.sum(of_targets["weights"])
        mean = total / ops.maximum(count, 1.0)
        zero = ops.zeros((), dtype="float32")
        load_balance_loss = sum((report["load_balance_loss"] for report in reports), zero)
        dropped = sum((report["dropped_token_fraction"] for report in reports), zero) / max(len(reports), 1)
        report = {
            "cross_entropy": mean,
            "weight": count,
            "load_balance_loss": load_balance_loss,
            "dropped_token_fraction": dropped,
        }
        aligned = self.aligned_net(spec)
        if aligned is not None:
            share = self.hparams.ctc_weight
            total, too_long = aligned.loss(encoded[0], encoded[1], targets)
            report["ctc_loss"] = total / ops.maximum(count, 1.0)
            report["ctc_too_long"] = too_long / ops.maximum(ops.sum(batch["example_weights"]), 1.0)
            mean = (1.0 - share) * mean + share * report["ctc_loss"]
        return mean + load_balance_loss, report | of_targets

    def log_probabilities(self, batch, spec, texts):
        """Of so many texts for each row, by the decoder, float32 [B, texts]: natural logarithms.

        Args: batch: its targets are int32 [B, texts · T], one text behind the other, each 0 behind end-of-sequence.
        """
        rows = {name: batch[name] for name in ("command", "example_weights")}
        encoded, padding_mask, _, _ = self.encode(batch, spec)
        encoded, padding_mask, *values = (ops.repeat(x, texts, axis=0) for x in (encoded, padding_mask, *rows.values()))
        length = ops.shape(batch["targets"])[1] // texts
        batch = dict(zip(rows, values)) | {"targets": ops.reshape(batch["targets"], [-1, length])}
        outputs, _ = self._outputs(batch, spec, (encoded, padding_mask, None, []), False)
        _, of_ids = self.head(spec).loss(outputs, spec.targets.of_batch(batch, "targets"), batch["example_weights"])
        return ops.reshape(ops.sum(of_ids["log_probability"] * of_ids["weights"], axis=1), [-1, texts])

    def evaluate(self, batch, spec):
        """Teacher-forced: {"weights": [B, …], and each of the head's `statistics`, of that shape}."""
        _, report = self.loss(batch, spec, training=False)
        return {name: report[name] for name in ("weights", *self.head(spec).statistics)}

    def observe(self, batch, spec):
        """Of a problem whose inputs are in order and whose targets are written: how the model follows them.

        With the right outputs given (teacher forcing), as in evaluation; may be compiled.

        Returns:
          {"signs": [B, heads of all the decoder's blocks], "pairs": [B] (see `observation.monotonicity`), where there
           is attention; "aligned_ids": int32 [B, S], of the likeliest path of the `aligned_net`, where there is one}.
        """
        found = {}
        with intermediates.capture_intermediates() as noted:
            encoded = self.encode(batch, spec)
            if self.hparams.use_attention:
                self._outputs(batch, spec, encoded, training=False)
        attention = [noted[name] for name in sorted(noted) if name.startswith("decoder/") and "experts" not in name]
        if attention:
            targets = spec.targets.of_batch(batch, "targets")
            target_mask = self.head(spec).padding_mask(targets) * batch["example_weights"][:, None]
            found["signs"], found["pairs"] = monotonicity(ops.concatenate(attention, axis=1), target_mask)
        if (aligned := self.aligned_net(spec)) is not None:
            ids = best_path(aligned(encoded[0]))
            found["aligned_ids"] = ids * ops.cast(encoded[1] > 0, "int32")
        return found

    def capture(self, batch, spec):
        """What `look` finds, by kind: see `observation.by_kind`; numpy arrays.

        Runs without compilation: for some examples, not for all. `Step.capture` is the same, compiled.
        """
        found = self.look(batch, spec)
        return by_kind({name: ops.convert_to_numpy(value) for name, value in found.items()})

    def look(self, batch, spec):
        """What a forward pass with the right outputs given (teacher forcing) looks at and whom it asks.

        As in evaluation (no dropout, no gating noise); may be compiled.

        Args:
          batch: arrays as docs/architecture.md describes them, targets included. spec: the `ProblemSpec`.

        Returns:
          {path of a layer with attention or experts: what it sows, see `observation.by_kind`,
           "source_real": float32 [B, S], 1 where an encoded input position is no padding,
           "grid": int32 [2], (height, width) of the encoded positions, of pictures}.
        """
        with intermediates.capture_intermediates() as noted:
            encoded = self.encode(batch, spec)
            self._outputs(batch, spec, encoded, training=False)
        found = {name: ops.cast(value, "float32") for name, value in noted.items()}
        _, padding_mask, grid, _ = encoded
        found["source_real"] = ops.cast(padding_mask, "float32")
        return found if grid is None else found | {"grid": ops.convert_to_tensor(grid, dtype="int32")}

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
          targets: the `Modality` that is written. cross_attention_cache: of `prepare`. constants, state: see there.
          beams: `convolution_cache.Beams` where the rows are hypotheses of a beam search.
        """
        net = self.nets[self._heads[targets.weights_name]]
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
        head = self.head(spec)
        variables = [*self.input_encoder(spec).input_variables, *head.output_variables]
        if (aligned := self.aligned_net(spec)) is not None:
            variables += aligned.trainable_variables
        variables += self.encoder.trainable_variables
        if head.autoregressive:
            variables += [*self.mixer.trainable_variables, *self.decoder.trainable_variables]
        mine = {id(v) for v in variables}
        return [v for v in self.trainable_variables if id(v) in mine]


def _check_sides(spec):
    for side, modality, able in (
        ("an input", spec.inputs, spec.inputs.can_be_input),
        ("a target", spec.targets, spec.targets.can_be_target),
    ):
        if not able:
            raise UserError(
                f"{spec.name}: {modality.modality_name} can't be {'an input' if side == 'input' else 'a target'}"
            )
