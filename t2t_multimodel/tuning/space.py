"""The search space: `--hparams_range` as one `Dimension` per hyper-parameter.

hidden_size=64:256            integers from 64 to 256, at the increment that the field declares (32)
hidden_size=64:256:64         64, 128, 192, 256
learning_rate=1e-4:1e-2:log   uniform in the logarithm
image_norm=features|picture   one of several values; also booleans and tuples: (16,32)|(32,64)
dropout                       the range that the field declares in hyperparameters.py
blocks                        how many blocks of each kind: those of `BLOCKS` that decide anything, as they declare it
"""

import ast
import dataclasses
import json
import math
import textwrap

from t2t_multimodel import hyperparameters
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.hyperparameter_effects import without_effect, words
from t2t_multimodel.hyperparameters import HParams, Range

BLOCKS = (
    "encoder_blocks attention_blocks mixer_blocks decoder_blocks decoder_attentions encoder_experts decoder_experts"
).split()
DEFAULT = "learning_rate,weight_decay,dropout"
_FLAG = "--hparams_range"
_DIGITS = 4  # significant digits of a value, so that the printed value is the one used
_DIGITS_OF_STEPS = 10  # of a value at an increment, which may be small beside it


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The values of one hyper-parameter: a `Range`, or `choices`."""

    name: str
    range: Range | None = None
    choices: tuple = ()

    @property
    def whole(self):
        return isinstance(getattr(HParams, self.name), int)

    @property
    def ends(self):
        """The values to validate: both ends, or every choice."""
        return self.choices or (self._value(self.range.low), self._value(self.range.high))

    def suggest(self, trial):
        """The value for an Optuna trial; the same value if it is called again for this trial."""
        if self.choices:
            return self.choices[trial.suggest_categorical(self.name, list(range(len(self.choices))))]
        low, high, log, step = dataclasses.astuple(self.range)
        if self.whole and not log:
            return trial.suggest_int(self.name, int(low), int(high), step=int(step) or 1)
        if step and not log:
            return self._value(trial.suggest_float(self.name, low, high, step=step))
        return self._value(trial.suggest_float(self.name, low, high, log=log))

    def written(self):
        """The complete text form of the dimension, which a study stores and compares."""
        if self.choices:
            return f"{self.name}={'|'.join(map(repr, self.choices))}"
        low, high, log, step = dataclasses.astuple(self.range)
        return f"{self.name}={low:g}:{high:g}" + (f":{step:g}" if step else "") + (":log" if log else "")

    def _value(self, number):
        """A suggested number, rounded to the increment, to an integer if the field is one, and to few digits."""
        low, high, _, step = dataclasses.astuple(self.range)
        if self.whole:
            step = int(step) or 1
            number = int(low) + step * round((number - low) / step)
            return number if number <= high else number - step
        if step:
            return min(float(f"{low + step * round((number - low) / step):.{_DIGITS_OF_STEPS}g}"), high)
        return min(max(float(f"{number:.{_DIGITS}g}"), low), high)


def parse(text, base):
    """The dimensions of `--hparams_range`.

    Args:
      text: in the form shown at the top of this file, several separated by commas.
      base: the `HParams` that the search starts from; the ends of every range must be valid in it.

    Raises:
      UserError: an unknown hparam, a malformed or empty range, an invalid value, an hparam that decides nothing.
    """
    dimensions, named = {}, set()
    given = [part.strip() for part in hyperparameters.split(text)]
    for part in [one for each in given for one in (BLOCKS if each == "blocks" else [each])]:
        name, equals, said = (piece.strip() for piece in part.partition("="))
        types = hyperparameters.field_types()
        if name not in types:
            raise unknown_name("hparam", name, types, _FLAG)
        if name == "train_steps":
            raise UserError(f"{_FLAG}: train_steps is the same for all trials; give it with --train_steps")
        if name in dimensions:
            raise UserError(f"{_FLAG}: {name} is given twice")
        dimensions[name] = _dimension(name, said, part.strip()) if equals else _declared(name)
        named |= {name} if part in given and text != DEFAULT else set()
        for value in dimensions[name].ends:
            hyperparameters.override(base, {name: value}, f"{_FLAG}={part.strip()}")
    for name, others in without_effect(base).items():
        if name in dimensions and not dimensions.keys() & set(others):
            if name in named:
                where = words(base, others)
                raise UserError(f"{_FLAG}: {name} decides nothing where {where}; leave it out, or change that")
            del dimensions[name]
    if not dimensions:
        raise UserError(f"{_FLAG} is empty; for instance {_FLAG}=learning_rate=1e-4:1e-2:log,dropout=0:0.3")
    return list(dimensions.values())


def _declared(name):
    ranges = hyperparameters.declared_ranges()
    if name not in ranges:
        raise UserError(
            f"{_FLAG}: {name} declares no range; write one, such as {_example(name)} (declared: {', '.join(ranges)})"
        )
    return Dimension(name, ranges[name])


def _dimension(name, said, part):
    default = getattr(HParams, name)
    if "|" in said:
        choices = tuple(_literal(choice.strip()) for choice in said.split("|"))
        if len(set(choices)) < len(choices):
            raise UserError(f"{_FLAG}: {part!r} names a value twice")
        return Dimension(name, None, tuple(hyperparameters.check({name: c}, _FLAG)[name] for c in choices))
    malformed = UserError(f"{_FLAG}: {part!r} is no range; write it like {_example(name)}")
    low, colon, rest = said.partition(":")
    if not colon or isinstance(default, bool) or not isinstance(default, int | float):
        raise malformed
    high, *more = rest.split(":")
    log = "log" in more
    steps = [text for text in more if text != "log"]
    if len(steps) > 1 or len(more) > 2 or more.count("log") > 1:
        raise malformed
    try:
        low, high, *step = (float(text) for text in (low, high, *steps))
    except ValueError:
        raise malformed from None
    step = step[0] if step else 0.0
    if not all(map(math.isfinite, (low, high, step))) or step < 0 or (steps and not step):
        raise malformed
    if low >= high:
        raise UserError(f"{_FLAG}: {part!r} has no room: {low:g} is not below {high:g}")
    if log and low <= 0:
        raise UserError(f"{_FLAG}: {part!r}: a logarithmic range starts above 0")
    if isinstance(default, int):
        if any(not number.is_integer() for number in (low, high, step)):
            raise UserError(f"{_FLAG}: {part!r}: {name} is a whole number")
        declared = hyperparameters.declared_ranges().get(name)
        step = step or (declared.step if declared and declared.step <= high - low else 0)
    if step > high - low:
        raise UserError(f"{_FLAG}: {part!r} has no room for a step of {step:g}")
    if step:
        high = low + step * math.floor((high - low) / step + 1e-9)  # Optuna warns if `high` is not on the grid
    return Dimension(name, Range(low, high, log, step))


def _example(name):
    default = getattr(HParams, name)
    if isinstance(default, bool):
        return f"{name}=True|False"
    if isinstance(default, int | float):
        return f"{name}=LOW:HIGH, {name}=LOW:HIGH:log or {name}=LOW:HIGH:STEP"
    return f"{name}=A|B"


def _literal(text):
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
    return tuple(value) if isinstance(value, list) else value


def as_source(name, base_name, base_value, changes, story):
    """A `@register_hparams` function as the text of a Python file for a `--t2t_usr_dir` folder.

    Args:
      name: of the function and of the set. base_name, base_value: name and registered value of the parent set.
      changes: {field: value}. story: its docstring, one line.
    """
    module = getattr(base_value, "__module__", "")
    if module.startswith("t2t_multimodel.hparams.") and getattr(base_value, "__name__", "") == base_name:
        imports, parent = f"from {module} import {base_name}\n", f"{base_name}()"
        registry = "from t2t_multimodel.registry import register_hparams"
    else:  # a user's module may not be importable from another file
        imports, parent = "", f"hparams_sets.get({base_name!r})()"
        registry = "from t2t_multimodel.registry import hparams_sets, register_hparams"
    values = "".join(f"        {field}={_written(value)},\n" for field, value in changes.items())
    said = " ".join(story.split()).replace("\\", "\\\\").replace('"', "'")  # so that no text can end the docstring
    said = "\n    ".join(textwrap.wrap(said, 110))
    head = "An hparams set that t2t-tune found; use it with --t2t_usr_dir."
    return (
        f'"""{head}"""\n\nfrom dataclasses import replace\n\n'
        f"{imports}{registry}\n\n\n@register_hparams\ndef {name}():\n"
        f'    """{said}"""\n    return replace(\n        {parent},\n{values}    )\n'
    )


def _written(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
