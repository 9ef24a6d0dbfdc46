"""How answers are decoded: everybody's defaults, then the problem's, then what was asked for; and saying so."""

from collections.abc import Mapping
from typing import Any

from t2t_multimodel.errors import UserError, unknown_name

DECODE_DEFAULTS: dict[str, Any] = {
    "beam_size": 1,
    "alpha": 0.6,
    "max_length": 0,  # 0: a little over the longest training target
    "constrained": 1,  # 1: trees are well-formed, with a leaf for each word; 0: whatever the model writes
}


def decode_settings(
    asked: Mapping[str, Any] | None = None, of_problem: Mapping[str, Any] | None = None, where: str = ""
) -> dict[str, Any]:
    """All of `DECODE_DEFAULTS`, with a problem's own values and then those of `asked` put in.

    Raises:
      UserError: an unknown name, or a value out of range; it begins with `where`, a problem's name.
    """
    values = {**(of_problem or {}), **(asked or {})}
    where = f"problem {where}: " if where else ""
    for name in values:
        if name not in DECODE_DEFAULTS:
            raise unknown_name(f"{where}decode hparam", name, DECODE_DEFAULTS)
    settings = DECODE_DEFAULTS | values
    for name, least in (("beam_size", 1), ("max_length", 0)):
        if not isinstance(settings[name], int) or settings[name] < least:
            raise UserError(
                f"{where}decode hparam {name}={settings[name]!r} must be a whole number of at least {least}"
            )
    if settings["constrained"] not in (0, 1):
        raise UserError(f"{where}decode hparam constrained={settings['constrained']!r} must be 0 or 1")
    if not isinstance(settings["alpha"], (int, float)) or settings["alpha"] < 0:
        raise UserError(f"{where}decode hparam alpha={settings['alpha']!r} must be a number of at least 0")
    return settings


def describe(settings: Mapping[str, Any], grammar: str = "") -> str:
    """`settings` in words, for text with a `target_grammar`: "beam of 4, alpha 0.6, constrained by grammar tree"."""
    beam = f"beam of {settings['beam_size']}, alpha {settings['alpha']}"
    words = ["greedy" if settings["beam_size"] == 1 else beam]
    if grammar and settings["constrained"]:
        words.append(f"constrained by grammar {grammar}")
    if settings["max_length"]:
        words.append(f"at most {settings['max_length']} ids")
    return ", ".join(words)
