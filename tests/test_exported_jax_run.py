"""A run that was trained on JAX is exported by TensorFlow, and answers as it answers on JAX."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_exports import TEXTS

from t2t_multimodel.exporting.export import export

pytest.importorskip("jax")
LIGHT = {  # programs that are compiled fast
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
}


@pytest.mark.slow
def test_a_run_of_jax_is_exported_by_tensorflow(tmp_path):
    import tensorflow as tf

    script = Path(__file__).with_name("small_exports.py")
    environment = os.environ | LIGHT | {"KERAS_BACKEND": "jax"}
    ended = subprocess.run([sys.executable, script, tmp_path], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["backend"] == "jax"
    done = export(tmp_path / "run", "tiny_ende", tmp_path / "export", decode_hparams={"max_length": 12}, questions=8)
    assert done.compared == {"serving_default": {"questions": 8, "equal": 8}}
    signature = tf.saved_model.load(done.folder).signatures["serving_default"]
    answers = [text.decode() for text in signature(inputs=tf.constant(TEXTS[:-1]))["outputs"].numpy()]
    assert answers == json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert len(set(answers)) > 1
