"""How answers are decoded: the defaults, then the problem's values, then what was asked for; and all of it in words."""

from collections.abc import Callable, Mapping
from typing import Any

from t2t_multimodel.errors import UserError, unknown_name

LONGEST = 2**20  # ids of an answer
DECODE_DEFAULTS: dict[str, Any] = {
    "beam_size": 1,
    "alpha": 0.6,
    "max_length": 0,  # 0: a little over the longest training target
    "temperature": 0.0,  # above 0: ids are drawn, from the softmax of logits / temperature
    "top_k": 0,  # drawn from the k likeliest ids only; 0: from all
    "top_p": 1.0,  # drawn from the fewest ids with probabilities that sum to p
    "seed": 0,  # of what is drawn
    "return_beams": 0,  # answers of each input with their scores, best first; 0: the best alone
    "ctc": 0.0,  # share of CTC in the scores of hypotheses, of models trained with it; 1: CTC alone, no decoder
    "quantize": "none",  # int8: matrices are int8, a quarter of their memory; of a process, chosen as the run is loaded
    "constrained": 1,  # 1: trees are well-formed, with a leaf for each word; 0: whatever the model writes
}

QUANTIZE = ("none", "int8")

# (least, most); a program takes memory for the most ids of each hypothesis.
_BOUNDS = {
    "beam_size": (1, 1000),
    "max_length": (0, LONGEST),
    "top_k": (0, 2**31 - 1),
    "seed": (0, 2**31 - 1),
    "return_beams": (0, 1000),
}
_MOST = {"alpha": 10, "temperature": 1000, "top_p": 1, "ctc": 1}  # more has no meaning, or no float


def decode_settings(
    asked: Mapping[str, Any] | None = None, of_problem: Mapping[str, Any] | None = None, where: str = ""
) -> dict[str, Any]:
    """All of `DECODE_DEFAULTS`, with a problem's own values and then those of `asked` put in.

    Raises:
      UserError: an unknown name, a value out of range, or values that exclude each other; it begins with `where`, a
        problem's name.
    """
    values = {**(of_problem or {}), **(asked or {})}
    where = f"problem {where}: " if where else ""
    if asked and asked.get("temperature") == 0:  # who turns sampling off turns off what the problem says of it
        values = {name: v for name, v in values.items() if name not in ("top_k", "top_p") or name in asked}
    refuse_of_process(of_problem or {}, where)
    for name in values:
        if name not in DECODE_DEFAULTS:
            raise unknown_name(f"{where}decode hparam", name, DECODE_DEFAULTS)
    settings = DECODE_DEFAULTS | values
    for name, (least, largest) in _BOUNDS.items():
        number = settings[name]
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= largest:
            said = f"a whole number of at least {least} and at most {largest:,}"
            raise UserError(f"{where}decode hparam {name}={number!r} must be {said}")
    if settings["quantize"] not in QUANTIZE:
        raise UserError(f"{where}decode hparam quantize={settings['quantize']!r} must be one of {', '.join(QUANTIZE)}")
    if not isinstance(settings["constrained"], int) or settings["constrained"] not in (0, 1):
        raise UserError(f"{where}decode hparam constrained={settings['constrained']!r} must be 0 or 1")
    for name, most in _MOST.items():
        value = settings[name]
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not 0 <= value <= most
            or (name == "top_p" and not value)
        ):
            valid = "above 0 and at most 1" if name == "top_p" else f"from 0 to {most:,}"
            raise UserError(f"{where}decode hparam {name}={value!r} must be a number {valid}")
    _check_sampling(settings, where, of_problem is not None)
    return settings


def _is_number(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _check_sampling(settings: Mapping[str, Any], where: str, is_all: bool) -> None:
    """`is_all`: whether the problem's values are among `settings`; without them the temperature is not known."""
    if settings["temperature"] and settings["beam_size"] > 1:
        raise UserError(
            f"{where}decode hparams temperature={settings['temperature']} and beam_size={settings['beam_size']} "
            "exclude each other; set beam_size=1 to sample, or temperature=0 to search"
        )
    if settings["temperature"] and settings["return_beams"] > 1:
        raise UserError(
            f"{where}decode hparams temperature={settings['temperature']} and return_beams={settings['return_beams']} "
            "exclude each other; set return_beams=1 for the score of what is sampled"
        )
    changed = [name for name in ("top_k", "top_p") if settings[name] != DECODE_DEFAULTS[name]]
    if is_all and changed and not settings["temperature"]:
        raise UserError(f"{where}decode hparam {changed[0]} is of sampling; set a temperature above 0 as well")


def refuse_of_process(of_problem: Mapping[str, Any], where: str = "") -> None:
    """Raises `UserError` where a problem has values that only a whole process can have."""
    if "quantize" in of_problem:
        raise UserError(f"{where}decode hparam quantize is of a process, so no problem has it; give it to the command")


def check_ctc(settings: Mapping[str, Any], spec: Any, trained_with_ctc: bool) -> None:
    """Raises `UserError` where the decode hparam ctc asks for what a model lacks, or does not go with the others.

    Args: spec: the `ProblemSpec`; where it writes no text there is nothing to ask. trained_with_ctc: the model.
    """
    if not settings["ctc"] or not spec.targets.is_text:
        return
    if not trained_with_ctc or not spec.inputs.in_order:
        why = "it was trained with ctc_weight=0" if spec.inputs.in_order else "its inputs are not in order"
        raise UserError(f"{spec.name}: decode hparam ctc={settings['ctc']:g} has nothing to ask: {why}; leave it out")
    if settings["temperature"]:
        raise UserError(f"{spec.name}: decode hparams ctc and temperature exclude each other; leave one out")
    if settings["ctc"] < 1 and beam_of(settings) < 2:
        raise UserError(
            f"{spec.name}: decode hparam ctc={settings['ctc']:g} scores hypotheses by CTC and decoder; set beam_size "
            "above 1, or ctc=1 to leave the decoder out"
        )


def of_stream(settings_of: Callable[..., dict[str, Any]], asked: Mapping[str, Any]) -> dict[str, Any]:
    """How an answer is decoded while it is shown: without a beam, and so by the decoder alone where a problem of its
    own has hypotheses scored by CTC and decoder.

    Args: settings_of: function of the decode hparams that are `asked` for to all of them.
    """
    settings = settings_of({"beam_size": 1} | dict(asked))
    return settings | {"ctc": 0.0} if 0 < settings["ctc"] < 1 and "ctc" not in asked else settings


def beam_of(settings: Mapping[str, Any]) -> int:
    """How many hypotheses are kept: at least as many as answers are asked for."""
    return max(settings["beam_size"], settings["return_beams"])


def describe(settings: Mapping[str, Any], grammar: str = "") -> str:
    """`settings` in words, for text with a `target_grammar`: "beam of 4, alpha 0.6, constrained by grammar tree"."""
    beam = beam_of(settings)
    words = ["greedy" if beam == 1 else f"beam of {beam}, alpha {settings['alpha']}"]
    if settings["temperature"]:
        words = [f"sampled at temperature {settings['temperature']}"]
        words += [f"top_k {settings['top_k']}"] if settings["top_k"] else []
        words += [f"top_p {settings['top_p']}"] if settings["top_p"] < 1 else []
        words.append(f"seed {settings['seed']}")
    if settings["ctc"]:
        of_ctc = "likeliest path of CTC" if beam == 1 else f"beam of {beam} by CTC"
        words = [of_ctc] if settings["ctc"] == 1 else [*words, f"CTC {settings['ctc']:g}"]
    if grammar and settings["constrained"]:
        words.append(f"constrained by grammar {grammar}")
    if settings["max_length"]:
        words.append(f"at most {settings['max_length']} ids")
    if settings["quantize"] != "none":
        words.append(f"{settings['quantize']} weights")
    return ", ".join(words)
