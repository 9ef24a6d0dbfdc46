"""On JAX nothing of training, evaluation and decoding imports TensorFlow, which would take memory of the GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_world import make_data

CHILD = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_text", "tensorflow_datasets"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Forbidden())
from dataclasses import replace
from t2t_multimodel import startup
startup.set_environment("jax")
startup.import_backend()
from small_world import HPARAMS, make_trainer

data, run, *problems = sys.argv[1:]
hparams = replace(HPARAMS, train_steps=1, optimizer="adafactor")
trainer = make_trainer(
    data, run, hparams, problems, schedule="train_and_evaluate", eval_batches=1, log_interval=1, save_interval=1
)
assert trainer.run() == 0
from t2t_multimodel.cli import decoder

open(f"{run}/in.txt", "w").write("a cat\\n")
assert not decoder.main(["--problem=tiny_ende", f"--output_dir={run}", f"--decode_from_file={run}/in.txt"])
assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
print("trained, evaluated, decoded")
"""


@pytest.mark.slow
def test_training_evaluation_and_decoding_leave_tensorflow_out(tmp_path):
    pytest.importorskip("jax")
    data = make_data(tmp_path / "data")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    done = subprocess.run(
        [sys.executable, script, data, tmp_path / "run", "tiny_ende"],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "trained, evaluated, decoded" in done.stdout, done.stdout + done.stderr[-4000:]
