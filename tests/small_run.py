"""A finished run of a few updates, made by the commands, for tests of what reads a run; see conftest.py."""

from t2t_multimodel.cli import datagen, trainer

# What nobody's data should be able to do: become markup, a formula, a template, a table's border.
HOSTILE = "<script>alert(1)</script> & \"quoted\" '$x^2$' | `code` {{ 7*7 }} </style><img src=x onerror=alert(1)>"

CODE = f'''
"""A user's folder: a small problem of each kind, a small hparams set."""
from dataclasses import replace
import numpy as np
from t2t_multimodel.modalities import Audio, Image, Label, Text
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_hparams, register_problem

HOSTILE = {HOSTILE!r}
COUNTS = {{"train": 16}}

@register_problem
class ReportWords(Problem):
    """Digits → their names; one text is hostile."""
    inputs, targets = Text(), Text()
    vocabulary_size = 400
    def samples(self, split):
        names = ["zero", "one", HOSTILE, "three"]
        for i in range(COUNTS.get(split, 6)):
            said = f"{{i % 4}} {{HOSTILE if i == 2 else ''}}"
            yield {{"inputs": said, "targets": names[i % 4], "key": f"{{split}}<b>{{i}}"}}

@register_problem
class ReportShades(Problem):
    """Pictures → words."""
    inputs, targets = Image(16, 16, 3), Text()
    vocabulary_size = 400
    def samples(self, split):
        for i in range(COUNTS.get(split, 6)):
            picture = np.full((16, 16, 3), 90 * (i % 3), np.uint8)
            yield {{"inputs": picture, "targets": ["dark", "grey", "light"][i % 3], "key": f"{{split}}{{i}}"}}

@register_problem
class ReportTones(Problem):
    """Tones → their names; a class is hostile."""
    inputs, targets = Audio(8000), Label(classes=("low", HOSTILE))
    def samples(self, split):
        for i in range(COUNTS.get(split, 6)):
            tone = np.sin(np.arange(1600) * (0.1 + 0.3 * (i % 2))) * 9000
            yield {{"inputs": tone.astype(np.int16), "targets": self.targets.classes[i % 2], "key": f"{{split}}{{i}}"}}

@register_hparams
def report_small():
    """As small as the model can be."""
    return replace(multimodel_tiny(), hidden_size=8, num_heads=2, encoder_blocks=1, attention_blocks=0, mixer_blocks=0,
                   decoder_blocks=1, num_experts=2, experts_per_token=2, expert_filter_size=8, batch_examples=4,
                   image_stem_filters=(4, 4), image_residual_filters=(0,), audio_mel_bins=8, audio_blocks=1,
                    max_target_length=200, max_input_length=200)
'''
PROBLEMS = ("report_words", "report_shades", "report_tones")


def make(folder):
    """Makes data in `folder`/data and a run of 4 updates in `folder`/run; returns {flag: value}. Once in a process."""
    (folder / "mine").mkdir()
    (folder / "mine" / "report_problems.py").write_text(CODE, encoding="utf-8")
    flags = {"t2t_usr_dir": folder / "mine", "problem": ",".join(PROBLEMS), "data_dir": folder / "data"}
    assert datagen.main(arguments(flags, workers=1)) == 0
    flags["output_dir"] = folder / "run"
    more = {"hparams_set": "report_small", "train_steps": 4, "eval_interval": 2, "eval_batches": 1, "log_interval": 1}
    assert trainer.main(arguments(flags, **more)) == 0
    return flags


def arguments(flags, **values):
    return [f"--{name}={value}" for name, value in {**flags, **values}.items()]
