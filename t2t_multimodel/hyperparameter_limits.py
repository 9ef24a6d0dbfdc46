"""What values hyper-parameters may have: the least and most of each number, and what contradicts each other."""

import dataclasses
import math
from typing import Any

from t2t_multimodel.errors import UserError, unknown_name

# The least value of a number, where it is not 0; above it, where it stands in _ABOVE.
_LEAST = dict.fromkeys(
    "hidden_size small_kernel large_kernel large_dilation num_heads expert_filter_size image_stem_filters "
    "image_stem_stride audio_blocks audio_mel_bins audio_filter_multiplier audio_filters_most audio_strides "
    "audio_bin_strides audio_stack learning_rate_decay_steps "
    "batch_tokens batch_examples max_input_length max_target_length length_window gradient_accumulation_steps "
    "train_steps batch_rows_multiple expert_groups loss_balance_window".split(),
    1,
)
_ABOVE = (
    "expert_capacity_factor class_filter_ratios audio_frame_milliseconds audio_hop_milliseconds adam_epsilon "
    "max_audio_seconds mixture_temperature audio_time_mask_milliseconds audio_speeds loss_balance_rate "
    "loss_balance_temperature".split()
)
_BELOW_ONE = ("dropout", "label_smoothing", "adam_beta1", "adam_beta2", "audio_preemphasis", "ctc_weight")
MOST = 2**31 - 1  # of what sizes are made from: they are counted in 32 bits
_MOST_FLOAT = 3e38  # of rates and weights
_LONGEST = 32  # numbers of a tuple
# The most of what is made one by one, or takes memory beside the weights.
_LAYERS = (
    "encoder_blocks attention_blocks mixer_blocks decoder_blocks decoder_attentions encoder_experts decoder_experts"
)
_MOST_OF = dict.fromkeys(_LAYERS.split(), 1000) | {
    "audio_blocks": 30,
    "audio_mel_bins": 1024,
    "audio_frame_milliseconds": 60_000,
    "audio_hop_milliseconds": 60_000,
    "audio_stack": 1000,
    "audio_strides": 1000,
    "audio_bin_strides": 1000,
    "audio_time_masks": 1000,
    "audio_bin_masks": 1000,
    "audio_time_mask_milliseconds": 60_000,
    "audio_silence_seconds": 60,
    "gradient_accumulation_steps": 10_000,
}
_FARTHEST = 2**16  # positions back that a convolution reads, which decoding keeps


def validate_values(h: Any) -> None:
    """Raises `UserError` where values of the `HParams` h contradict each other or are out of range."""
    defaults = type(h)()
    for name, default in dataclasses.asdict(defaults).items():
        if not isinstance(default, (bool, str)):
            _validate_numbers(name, getattr(h, name))
    if h.hidden_size % h.num_heads or h.hidden_size % 2:
        raise UserError(f"hidden_size={h.hidden_size} must be even and a multiple of num_heads={h.num_heads}")
    for kernel, dilation in ((h.small_kernel, 1), (h.large_kernel, h.large_dilation)):
        if (kernel - 1) * dilation > _FARTHEST:
            raise UserError(
                f"a convolution of kernel size {kernel} and dilation {dilation} reads {(kernel - 1) * dilation:,} "
                f"positions back, {_FARTHEST:,} are the most; lower small_kernel, large_kernel or large_dilation"
            )
    if h.use_experts and not 1 <= h.experts_per_token <= h.num_experts:
        raise UserError(f"experts_per_token={h.experts_per_token} must lie between 1 and num_experts={h.num_experts}")
    if h.batch_rows_multiple % h.expert_groups:
        raise UserError(
            f"expert_groups={h.expert_groups} must divide batch_rows_multiple={h.batch_rows_multiple}, the rows that "
            f"groups share evenly; give batch_rows_multiple={math.lcm(h.batch_rows_multiple, h.expert_groups)} too"
        )
    choices = {
        "precision": ("float32", "mixed_bfloat16"),
        "remat": ("none", "block"),
        "image_norm": ("features", "picture"),
        "mixture": ("fixed", "size", "adaptive", "schedule"),
        "audio_normalize": ("none", "recording"),
        "loss_balance": ("none", "uncertainty", "ratio"),
    }
    for name, valid in choices.items():
        if getattr(h, name) not in valid:
            raise unknown_name(name, getattr(h, name), valid)
    scales_by_part(h.learning_rate_scale)
    if h.gradient_surgery and h.gradient_accumulation_steps < 2:
        raise UserError(
            "gradient_surgery compares the draws of an update, and there is one; set gradient_accumulation_steps to 2 "
            "or more too"
        )
    if not 0 <= h.audio_time_mask_share <= 1:
        raise UserError(f"audio_time_mask_share={h.audio_time_mask_share} must lie in [0, 1]: a share of a recording")
    for name in ("image_stem_filters", "class_filter_ratios"):
        if len(getattr(h, name)) != 2:
            raise UserError(f"{name}={getattr(h, name)} must have two numbers, such as {getattr(defaults, name)}")
    if h.hidden_size * min(h.class_filter_ratios) < 1:
        raise UserError(
            f"class_filter_ratios={h.class_filter_ratios} times hidden_size={h.hidden_size} leaves a convolution "
            "without features; raise them"
        )
    for name in ("audio_strides", "audio_bin_strides", "audio_speeds"):
        if not getattr(h, name):
            raise UserError(f"{name}=() must have at least one number, such as {getattr(defaults, name)}")
    if not all(0.5 <= speed <= 2 for speed in h.audio_speeds):
        raise UserError(f"audio_speeds={h.audio_speeds} must lie in [0.5, 2]; 1 is the recording's own speed")
    if not 0 <= h.image_shift <= 0.5:
        raise UserError(f"image_shift={h.image_shift} must lie in [0, 0.5]: a share of a picture's height and width")


def frozen_parts(h: Any) -> list[str]:
    """The names in `freeze`, which stand between spaces or commas."""
    return h.freeze.replace(",", " ").split()


def scales_by_part(text: str) -> dict[str, float]:
    """ "body=0.1 text=0.5" → {"body": 0.1, "text": 0.5}; raises `UserError` where it is not that."""
    scales = {}
    for item in text.replace(",", " ").split():
        part, _, number = item.rpartition("=")
        try:
            scales[part] = float(number)
        except ValueError:
            scales[part] = 0.0
        if not part or not 0 < scales[part] <= _MOST_FLOAT:
            raise UserError(
                f"learning_rate_scale: {item!r} is not part=factor with a factor above 0, such as body=0.1; a part "
                "that is to stay as it is goes into freeze"
            )
    return scales


def _validate_numbers(name: str, value: Any) -> None:
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) > _LONGEST:
        raise UserError(f"{name} has {len(numbers)} numbers; {_LONGEST} are the most")
    least = _LEAST.get(name, 0)
    for number in numbers:
        if name in _BELOW_ONE and not 0 <= number < 1:
            raise UserError(f"{name}={value} must lie in [0, 1)")
        if name in _ABOVE and not 0 < number <= _MOST_OF.get(name, MOST):
            raise UserError(f"{name}={value} must be above 0 and at most {_MOST_OF.get(name, MOST):,}")
        most = _MOST_FLOAT if isinstance(number, float) else _MOST_OF.get(name, MOST)
        if not least <= number <= most:  # NaN neither
            said = f"at least {least}" if number < least else f"a number of at most {most:,.10g}"
            raise UserError(f"{name}={value} must be {said}")
