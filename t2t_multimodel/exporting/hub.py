"""The format hub: a folder to publish, with a card for people; `t2t_multimodel.load` opens it. No network is used."""

from pathlib import Path
from typing import Any

from t2t_multimodel.exporting import comparison
from t2t_multimodel.exporting.card import card
from t2t_multimodel.files import write_file

BACKEND = None
FIXED_LENGTH = False  # whether all inputs are padded to one length
NEEDS: dict[str, str] = {}
ABOUT = "export.json"


def write(part: Any, folder: Path, xla: bool = False) -> dict[str, Any]:
    """Writes a `Slice` into `folder`; returns what it says of itself."""
    from t2t_multimodel.training import published

    published.write(folder, part.run, part.hparams, part.model, part.vocabulary, part.step, part.settings["quantize"])
    write_file(folder / "README.md", card(part))
    return {}


def compare(part: Any, folder: Path, about: dict[str, Any], questions: Any) -> dict[str, Any]:
    """Loads the folder as a user would and compares every answer; raises `UserError`."""
    import warnings

    from t2t_multimodel.predictor import load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of long inputs
        told = load(folder).decode(part.spec.name, questions.samples, long_inputs="warn")
    return {"t2t_multimodel.load": comparison.check("t2t_multimodel.load", part.answers(questions.samples), told)}
