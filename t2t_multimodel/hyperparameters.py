"""HParams: every hyper-parameter of model and training, typed, with its meaning and unit.

The registered sets (in `hparams/`) are functions that return one of these. Precedence: set, then gin
file and bindings, then `--hparams="name=value,…"`; `resolve` applies it and remembers where each value
came from.
"""

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.hyperparameter_limits import MOST, frozen_parts, validate_values
from t2t_multimodel.json_files import ANY
from t2t_multimodel.json_files import check as check_json


@dataclass(frozen=True)
class Range:
    """Where t2t-tune looks for a field's value when it is only told the name; see `tuning/space.py`."""

    low: float
    high: float
    log: bool = False  # as many tries between 1 and 10 as between 10 and 100
    step: float = 0  # only low, low + step, …; 0 = any


def tuned(default: Any, low: float, high: float, **more: Any) -> Any:
    """A field with its declared `Range`."""
    return field(default=default, metadata={"range": Range(low, high, **more)})


@dataclass(frozen=True)
class HParams:
    """Defaults are the paper's where the paper says (hidden 1024, 240 experts, dropout 0.4)."""

    # ---- Body (paper §2.1–2.3)
    hidden_size: int = tuned(1024, 64, 2048, step=32)  # features of every position in the body
    encoder_blocks: int = tuned(6, 1, 8)  # convolution blocks in the encoder; the experts sit in the middle
    attention_blocks: int = tuned(2, 0, 3)  # convolution blocks that mix the target inside the mixer's attention block
    mixer_blocks: int = tuned(2, 0, 4)  # convolution blocks after the mixer's attention block
    decoder_blocks: int = tuned(4, 1, 6)  # pairs of convolution block and cross-attention; experts in the middle
    decoder_attentions: int = tuned(
        0, 1, 6
    )  # cross-attentions, if not as many as convolution blocks (0); spread evenly
    encoder_experts: int = tuned(1, 0, 3)  # mixtures of experts, spread evenly between the blocks
    decoder_experts: int = tuned(1, 0, 3)
    small_kernel: int = 3  # kernel size of a block's first two convolutions
    large_kernel: int = 15  # kernel size of its last two
    large_dilation: int = 8  # dilation of its last one, in positions
    num_heads: int = 8  # attention heads; divides hidden_size
    dropout: float = tuned(0.4, 0.0, 0.5)  # after every convolution block; sits on the residual stream, so it compounds
    use_attention: bool = True  # False: the ablation; the source reaches the target by position and by its mean
    use_experts: bool = True  # False: the ablation; no mixture of experts anywhere
    use_convolutions: bool = True  # False: the ablation; no convolution blocks in the body, whatever their numbers

    # ---- Mixture of experts (paper §2.2; Shazeer et al. 2017)
    num_experts: int = tuned(240, 4, 240, log=True)
    experts_per_token: int = tuned(4, 1, 4)  # k of the noisy top-k gating
    expert_filter_size: int = tuned(2048, 64, 4096, step=64)  # hidden features inside an expert
    expert_capacity_factor: float = tuned(2.0, 1.0, 4.0)  # slots of an expert in training, times an even share
    expert_groups: int = 1  # JAX: rows of a batch in so many groups, each with its share of an expert's slots
    expert_balance_weight: float = tuned(0.01, 1e-4, 1e-1, log=True)  # weight of CV²(importance) + CV²(load)

    # ---- Image net in (Xception entry flow) and class net out (exit flow)
    image_stem_filters: tuple[int, ...] = (32, 64)  # features of the first two convolutions
    image_residual_filters: tuple[int, ...] = (128, 256, 0)  # features of residual blocks; 0 = hidden size
    image_stem_stride: int = 2  # stride of the first convolution, in pixels
    image_norm: str = "features"  # what layer norm spans: features (of each position), or picture (all positions)
    class_filter_ratios: tuple[float, ...] = (1.5, 2.0)  # exit flow: last two convolutions, times hidden size
    image_augment: bool = False  # training pictures are flipped at random; not where left and right have names
    image_shift: float = tuned(0.0, 0.0, 0.25)  # … and moved (cropped) by up to this share of each side, 0 to 0.5

    # ---- Audio nets in
    audio_frame_milliseconds: float = 25.0  # spectrogram: length of a frame
    audio_hop_milliseconds: float = 10.0  # spectrogram: distance of frames
    audio_mel_bins: int = 80  # spectrogram: bins
    audio_blocks: int = 8  # residual blocks, each halves the time
    audio_filter_multiplier: int = 1  # block i (from 1) has multiplier · 2^i features
    audio_filters_most: int = 1024  # but at most so many
    # What speech recognition does besides (docs/speech.md); the defaults leave the paper's structure as it is.
    audio_strides: tuple[int, ...] = (2,)  # of time, of each residual block; the last is that of all behind it too
    audio_bin_strides: tuple[int, ...] = (1,)  # spectrogram: of frequency, the same way
    audio_stack: int = 1  # spectrogram: so many frames side by side are one position
    audio_normalize: str = "none"  # recording: to one loudness, and each bin to mean 0 and variance 1
    audio_preemphasis: float = 0.0  # this share of the sample before is subtracted from each; 0.97 is usual
    audio_dither: float = 0.0  # in training: standard deviation of added noise, in steps of 16-bit sound
    audio_time_masks: int = 0  # SpecAugment, in training: stretches of a spectrogram that are hidden, …
    audio_time_mask_milliseconds: float = 1000.0  # … each up to so long, …
    audio_time_mask_share: float = 0.2  # … and up to this share of the recording
    audio_bin_masks: int = 0  # … and bands, …
    audio_bin_mask_width: int = 27  # … each up to so many bins
    audio_speeds: tuple[float, ...] = (1.0,)  # in training: each time a recording is read, one of these is drawn for it
    audio_silence_seconds: float = 0.0  # in training: up to so much silence before and after each recording
    ctc_weight: float = tuned(0.0, 0.0, 0.5)  # of inputs in order (sound) into text: share of CTC in the loss

    # ---- Loss and optimiser
    label_smoothing: float = tuned(0.0, 0.0, 0.2)  # share of the target's probability spread over all ids
    optimizer: str = "adam"  # registered: adam, nadam, muon, lazy_adam (spares unused experts), adafactor, …
    learning_rate: float = tuned(1e-3, 1e-4, 1e-2, log=True)  # the peak; of exponential before its decay
    learning_rate_schedule: str = "noam"  # registered: constant, noam (∝ 1/√step), cosine (to zero), exponential, …
    learning_rate_warmup_steps: int = tuned(4000, 50, 8000, log=True)  # linear from zero
    learning_rate_decay_rate: float = 0.5  # exponential: factor …
    learning_rate_decay_steps: int = 50000  # … every so many steps
    adam_beta1: float = 0.9
    adam_beta2: float = tuned(0.98, 0.9, 0.999)
    adam_epsilon: float = 1e-9
    weight_decay: float = tuned(0.0, 0.0, 0.3)  # decoupled (AdamW), times the learning rate; never of vectors
    clip_norm: float = tuned(1.0, 0.1, 10.0, log=True)  # global norm of the gradient; 0 = no clipping
    freeze: str = ""  # parts whose weights stay as they are: "body", "experts", "text", "encoder/block0", … (parts.py)
    learning_rate_scale: str = ""  # "body=0.1 text=0.5": the updates of these parts are multiplied by that
    precision: str = "float32"  # or mixed_bfloat16: products in 16 bits, weights in 32 (Keras dtype policies)
    remat: str = "none"  # or block: less memory; the backward pass computes each block of the body again (JAX only)

    # ---- Batches and mixture
    batch_tokens: int = tuned(4096, 512, 16384, log=True)  # of a batch: rows × (longest input + longest target if text)
    batch_examples: int = tuned(64, 8, 128, log=True)  # at most so many rows in a batch
    batch_rows_multiple: int = 1  # JAX: batches are filled up to a multiple of it, so that as many devices share them
    audio_positions_per_second: float = 25.0  # how one second of sound counts against batch_tokens
    image_positions: int = 64  # how one picture counts against batch_tokens
    max_input_length: int = 256  # ids; longer training examples are left out and counted
    max_target_length: int = 256
    max_audio_seconds: float = 20.0
    length_window: int = 64  # batches that are sorted by length together
    sorted_epochs: int = 0  # in the first so many epochs of a problem, batches come from the shortest inputs on
    gradient_accumulation_steps: int = tuned(1, 1, 8)  # draws from the mixture averaged in one update
    mixture: str = "fixed"  # fixed, size (with temperature), adaptive (by loss), or schedule
    mixture_temperature: float = tuned(1.0, 1.0, 5.0)  # size: weight ∝ examples^(1/temperature)
    # Weights over steps or per cent of the run, in the order of the problems: "linear @0 1 0 @50% 0.5 0.5"
    mixture_schedule: str = ""
    loss_balance: str = "none"  # how losses of problems are weighed: uncertainty, ratio (mixture/balance.py)
    loss_balance_rate: float = tuned(0.02, 1e-3, 0.1, log=True)  # uncertainty: step size of the log-variances
    loss_balance_window: int = 100  # ratio: draws over which losses are averaged
    loss_balance_temperature: float = 2.0  # ratio: of the softmax; larger is more even
    gradient_surgery: bool = False  # gradients of the draws of an update that conflict are projected (PCGrad)

    # ---- Length of training
    train_steps: int = 250_000  # updates; --train_steps overrides


@dataclass(frozen=True)
class Resolved:
    """HParams together with where each value came from."""

    hparams: HParams
    sources: dict[str, str] = field(default_factory=dict)  # field name → "set multimodel_tiny", "gin", "--hparams", …

    def to_json(self) -> dict[str, dict[str, Any]]:
        """{name: {"value", "source"}} of every field, as a run directory's `hparams.json` holds it."""
        values = dataclasses.asdict(self.hparams)
        return {name: {"value": value, "source": self.sources.get(name, "default")} for name, value in values.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Mapping[str, Any]], where: str = "hparams.json") -> Self:
        """The inverse of `to_json`; a field that `stored` lacks (written by an older version) has its default."""
        try:
            check_json(stored, {str: {"value": ANY, "source": str}})
        except ValueError as error:
            raise UserError(f"{where} is damaged: {error}") from None
        values = {name: entry["value"] for name, entry in stored.items()}
        hparams = dataclasses.replace(HParams(), **check(values, where))
        validate_values(hparams)  # to use a model takes no optimizer; its module may not be there
        return cls(hparams, {name: entry["source"] for name, entry in stored.items()})


def declared_ranges() -> dict[str, Range]:
    """{field name: `Range`} of the fields that declare one."""
    return {f.name: f.metadata["range"] for f in dataclasses.fields(HParams) if "range" in f.metadata}


def field_types() -> dict[str, Any]:
    return {f.name: f.type for f in dataclasses.fields(HParams)}


def resolve(base: str | HParams, stages: Iterable[tuple[Mapping[str, Any], str]]) -> Resolved:
    """The hyper-parameters of a run: a base, and changes to it, the later ones before the earlier ones.

    Args:
      base: name of a registered set, or an `HParams`.
      stages: ({name: value}, where they come from, e.g. "--hparams") pairs.

    Raises:
      UserError: an unknown name, a value of the wrong type, or values that contradict each other.
    """
    if isinstance(base, HParams):
        values, source = base, "HParams"
    else:
        entry = registry.hparams_sets.entry(base)
        values, source = entry.value(), f"set {entry.name}"
        if not isinstance(values, HParams):
            raise UserError(f"hparams set {entry.name!r} ({entry.source}) returns {type(values).__name__}, not HParams")
    validate(values)
    default = HParams()
    sources = {name: source for name in field_types() if getattr(values, name) != getattr(default, name)}
    changes: dict[str, Any] = {}
    for given, source in stages:
        changes |= check(given, source)
        sources |= {name: source for name in given}
    return Resolved(override(values, changes, "the settings together"), sources)


def override(hparams: HParams, values: Mapping[str, Any], where: str) -> HParams:
    """`hparams` with `values` ({name: value}) put in; each is checked against its field's type.

    Raises:
      UserError: an unknown name (with the nearest ones), or a value of the wrong type.
    """
    new = dataclasses.replace(hparams, **check(values, where))
    validate(new)
    return new


def in_proportion(hparams: HParams, part: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The `changes` to `hparams` for a run of `part` of its length, and what the learning rate counts in steps at the
    same part of it, unless `changes` names it.
    """
    counted = ["learning_rate_warmup_steps"]
    if changes.get("learning_rate_schedule", hparams.learning_rate_schedule) == "exponential":
        counted.append("learning_rate_decay_steps")
    steps = {name: max(1, round(part * getattr(hparams, name))) for name in counted if part != 1}
    return steps | dict(changes)


def check(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` ({name: value}) with each value brought to its field's type; raises `UserError` as `override` does."""
    names = field_types()
    for name in values:
        if name not in names:
            raise unknown_name("hparam", name, names, where)
    return {name: _checked(name, value, getattr(HParams, name), where) for name, value in values.items()}


def parse(text: str, where: str = "--hparams") -> dict[str, Any]:
    """ "hidden_size=128,image_stem_filters=(16,32)" → {"hidden_size": 128, …}; values are Python literals or bare
    words.
    """
    values: dict[str, Any] = {}
    for part in split(text):
        name, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"{where}: {part.strip()!r} is not name=value")
        try:
            values[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # literal_eval raises all of them
            lowered = value.strip().lower()
            values[name.strip()] = {"true": True, "false": False}.get(lowered, value.strip())
    return values


def validate(hparams: HParams) -> None:
    """Raises `UserError` where values contradict each other, are out of range, or name what is not registered."""
    validate_values(hparams)
    if hparams.mixture_schedule and hparams.mixture != "schedule":
        raise UserError(
            f"mixture_schedule is set, and mixture={hparams.mixture} does not use it; set mixture=schedule, or "
            "mixture_schedule='' too"
        )
    if hparams.gradient_surgery and "body" in frozen_parts(hparams):
        raise UserError(
            f"gradient_surgery is of the gradients of the body, and freeze={hparams.freeze!r} leaves that as it is; "
            "set gradient_surgery=False, or freeze less"
        )
    for name, known in (("optimizer", registry.optimizers), ("learning_rate_schedule", registry.schedules)):
        if getattr(hparams, name) not in known:
            raise unknown_name(name, getattr(hparams, name), known.names())


def check_backend(hparams: HParams, backend: str | None) -> None:
    """Raises `UserError` where training by these hparams is impossible on `backend`, "tensorflow" or "jax"."""
    if hparams.remat != "none" and backend != "jax":
        raise UserError(f"remat={hparams.remat} needs JAX: give --backend=jax, or --hparams=remat=none")
    if hparams.expert_groups > 1 and backend != "jax":
        raise UserError(
            f"expert_groups={hparams.expert_groups} needs JAX: give --backend=jax, or --hparams=expert_groups=1"
        )


def split(text: str) -> list[str]:
    """Splits at commas that stand outside brackets and of quoted values."""
    parts, depth, start, quote = [], 0, 0, ""
    for i, c in enumerate(text):
        if quote or (c in "\"'" and text[:i].rstrip()[-1:] in tuple("=|([,") and c in text[i + 1 :]):
            quote = "" if c == quote else quote or c
            continue
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [p for p in (*parts, text[start:]) if p.strip()]


def _checked(name: str, value: Any, default: Any, where: str) -> Any:
    wanted = type(default)
    if isinstance(value, int) and abs(value) > MOST:
        raise UserError(
            f"hparam {name!r} must be a number of at most {MOST:,}, got one of {value.bit_length()} bits ({where})"
        )
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if wanted is tuple:
        value = (value,) if isinstance(value, (int, float)) else value
        kinds = (int, float) if isinstance(default[0], float) else (int,)
        if isinstance(value, (tuple, list)) and all(isinstance(v, kinds) and not isinstance(v, bool) for v in value):
            return tuple(value)
    elif isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise UserError(f"hparam {name!r} wants a {wanted.__name__} like {default!r}, got {value!r} ({where})")
