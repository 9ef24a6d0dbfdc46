"""Findings of the contract checks in words: lists of lines that stay short."""

import pathlib
import traceback

from t2t_multimodel.errors import UserError

_MOST_LISTED = 3  # findings of one kind, in one split


def few_of(found, form, noun):
    """The first findings of a kind, and how many more there are."""
    yield from (form.format(each) for each in found[:_MOST_LISTED])
    if len(found) > _MOST_LISTED:
        yield f"… and {len(found) - _MOST_LISTED:,} more {noun}"


def said(error):
    """An exception in one line; of a fault in code the place too."""
    words = " ".join(str(error).split()) or "no reason given"
    if isinstance(error, UserError | OSError):
        return words
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    place = f" ({pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words}{place}"
