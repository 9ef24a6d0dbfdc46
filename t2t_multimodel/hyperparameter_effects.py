"""Which hyper-parameters decide nothing beside others: what they are of is switched off."""

from typing import Any

NUMBERS_OF_EXPERTS = ("encoder_experts", "decoder_experts")  # mixtures; without any there are no experts either
# Switch → the hparams that decide nothing where it is off; of decoder_blocks see `without_effect`.
SILENCED = {
    "use_experts": (
        *("num_experts", "experts_per_token", "expert_filter_size", "expert_capacity_factor", "expert_groups"),
        *("expert_balance_weight", *NUMBERS_OF_EXPERTS),
    ),
    "use_attention": ("num_heads",),
    "use_convolutions": (
        *("encoder_blocks", "attention_blocks", "mixer_blocks", "small_kernel", "large_kernel", "large_dilation"),
        "dropout",
    ),
}
# hparam → (what the others are for, the others). Optimizers and schedules of one's own may read any of them.
_OF_A_CHOICE = {
    "mixture": {"size": ("mixture_temperature",)},
    "loss_balance": {
        "uncertainty": ("loss_balance_rate",),
        "ratio": ("loss_balance_window", "loss_balance_temperature"),
    },
}
# Number → the hparams that say more of what there is none of where it is 0.
_OF_A_NUMBER = {
    "audio_time_masks": ("audio_time_mask_milliseconds", "audio_time_mask_share"),
    "audio_bin_masks": ("audio_bin_mask_width",),
}
_OF_NO_USE = {
    "optimizer": {"adafactor": ("adam_beta1", "adam_beta2", "adam_epsilon")},
    "learning_rate_schedule": dict.fromkeys(
        ("constant", "noam", "cosine"), ("learning_rate_decay_rate", "learning_rate_decay_steps")
    ),
}


def without_effect(h: Any) -> dict[str, tuple[str, ...]]:
    """{hparam that decides nothing: the hparams by whose values it does not} of the `HParams` h."""
    found: dict[str, tuple[str, ...]] = {}
    if not any(getattr(h, name) for name in NUMBERS_OF_EXPERTS):
        others = (name for name in SILENCED["use_experts"] if name not in NUMBERS_OF_EXPERTS)
        found |= dict.fromkeys(others, NUMBERS_OF_EXPERTS)
    for switch, names in SILENCED.items():
        if not getattr(h, switch):
            found |= dict.fromkeys(names, (switch,))
    if not h.use_convolutions and h.decoder_attentions:  # else there are as many attentions
        found["decoder_blocks"] = ("use_convolutions", "decoder_attentions")
    for number, names in _OF_A_NUMBER.items():
        if not getattr(h, number):
            found |= dict.fromkeys(names, (number,))
    for choice, by_value in _OF_A_CHOICE.items():
        for value, names in by_value.items():
            if getattr(h, choice) != value:
                found |= dict.fromkeys(names, (choice,))
    for choice, by_value in _OF_NO_USE.items():
        found |= dict.fromkeys(by_value.get(getattr(h, choice), ()), (choice,))
    return found


def words(h: Any, others: tuple[str, ...]) -> str:
    """The values by which an hparam decides nothing, "encoder_experts=0 and decoder_experts=0"."""
    return " and ".join(f"{name}={getattr(h, name)}" for name in others)
