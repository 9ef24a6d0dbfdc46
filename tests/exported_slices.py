"""Slices of models with random weights, to export without training; as a script on JAX, exports one as StableHLO."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from models import HPARAMS, SPECS, VOCABULARY, make_model

from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.exporting.comparison import Questions
from t2t_multimodel.exporting.slice import Slice
from t2t_multimodel.training.run import Run, RunProblem


class Letters:
    """A vocabulary of letters, as far as decoding needs one."""

    size = VOCABULARY

    def decode(self, ids):
        ids = list(ids)
        return "".join(chr(ord("a") + i) for i in ids[: ids.index(1) if 1 in ids else None] if i > 4)

    def copy_to(self, folder):
        folder.mkdir()


def make_slice(name, **decode_hparams):
    """A `Slice` of the problem `name` of `models.SPECS`."""
    spec = SPECS[name]
    problem = RunProblem(spec, "", ("accuracy_top1",), longest_target=9)
    run = Run("multimodel", 0, "tensorflow", {name: problem})
    settings = decode_settings(decode_hparams)
    return Slice(None, make_model(HPARAMS, [spec]), run, HPARAMS, Letters(), 7, settings)


def questions_for(part):
    """Twelve pictures or recordings."""
    random, modality = np.random.default_rng(3), part.spec.inputs
    if modality.variable_length:
        samples = [(random.normal(size=n) * 3000).astype(np.int16) for n in random.integers(200, 900, 12)]
    else:
        samples = list(random.integers(0, 256, (12, *modality.shape), np.uint8))
    return Questions(samples, [], "random")


def main():
    from t2t_multimodel.exporting import stablehlo

    part = make_slice(sys.argv[1], **({"beam_size": 2} if sys.argv[1] == "image_to_text" else {}))
    with tempfile.TemporaryDirectory() as folder:
        about = stablehlo.write(part, Path(folder))
        found = stablehlo.compare(part, Path(folder), about, questions_for(part))
    json.dump(found | {"inputs": about["inputs"]}, sys.stdout)


if __name__ == "__main__":
    main()
