"""Errors a user can act on: one line, what was wrong, the nearest valid names, what to do."""

import difflib
import os
import re
import shlex
from collections.abc import Iterable

# Characters that steer a terminal or hide: control characters, marks of writing direction, line separators, tags,
# and halves of surrogate pairs, which stand for bytes of a file name that are no text.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


class UserError(Exception):
    """Something the user can put right. Commands print its one line and exit with status 2."""

    def __init__(self, *said: object) -> None:
        super().__init__(*(printable(one, keep="\n\t") if isinstance(one, str) else one for one in said))


def printable(text: object, keep: str = "") -> str:
    """The text with every character that could steer a terminal escaped: "\\x1b[31m".

    Everything from a file or from the user passes through it on the way to a terminal: `UserError` does it by itself,
    and so do the commands' standard output and error (cli/terminal.py). `keep`: characters that stay.
    """
    return _STEERING.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class MustDefine(UserError, NotImplementedError):
    """A class lacks a method that its base class leaves to it."""

    def __init__(self, instance: object, method: str) -> None:
        super().__init__(f"{type(instance).__name__} must define {method}")


DIVERGED = "the last checkpoint is as it was: lower learning_rate or clip_norm"  # every `DivergedError` says so


class DivergedError(UserError):
    """Training that came to a loss, a score or a weight which is not finite."""


def nearest(name: object, valid: Iterable[object], most: int = 3) -> list[str]:
    """The `most` entries of `valid` that look most like `name`, best first."""
    return difflib.get_close_matches(str(name), [str(v) for v in valid], n=most, cutoff=0.5)


def unknown_name(kind: str, name: object, valid: Iterable[str], hint: str = "") -> UserError:
    """Makes the error for a `name` that is not among `valid`.

    Args:
      kind: what was looked up, e.g. "problem".
      name: what the user wrote.
      valid: every name that would have been accepted.
      hint: what else to do, a clause.

    Returns:
      A `UserError` to raise.
    """
    valid = sorted(valid)
    close = nearest(name, valid)
    if close:
        said = "did you mean " + " or ".join(repr(c) for c in close) + "?"
    elif valid:
        said = "valid: " + ", ".join(valid[:20]) + (", …" if len(valid) > 20 else "")
    else:
        said = "none is registered"
    return UserError(f"unknown {kind} {name!r}; {said}" + (f" ({hint})" if hint else ""))


def datagen_command(problem_name: str, data_dir: str | os.PathLike[str]) -> str:
    """The command that makes the data of a problem, as it is typed, with the user's folder where one is used."""
    words = ["t2t-datagen", f"--problem={problem_name}", f"--data_dir={data_dir}"]
    usr_dir = os.environ.get("T2T_USR_DIR")  # left there by cli/user_code.py
    return shlex.join([*words, f"--t2t_usr_dir={usr_dir}"] if usr_dir else words)
