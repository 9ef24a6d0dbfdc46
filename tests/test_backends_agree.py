"""TensorFlow and JAX compute the same to 1e-4, and the model's tests pass on the other backend too.

One child process runs chosen tests on the backend that this process does not run on, and hands over what its model
computed: weights depend on their path alone, batches are seeded (models.py).
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPOSITORY
from models import BACKEND, SPECS, shared_model, training_outputs

OTHER = {"tensorflow": "jax", "jax": "tensorflow"}[BACKEND]
# All of golden numbers and contract; of the rest what differs between the backends: blocks, whose convolutions are
# written for each, and the compiled search. Run a whole file there with KERAS_BACKEND=jax.
CHOSEN = (
    "test_golden.py",
    "test_loss.py",
    "test_kernels.py",
    "test_grammars.py::test_every_tree_is_in_the_grammar",
    "test_grammars.py::test_any_model_writes_trees",
    "test_adam.py",
    "test_muon.py",
    "test_joint_loss.py::test_a_weight_multiplies_the_gradient_and_surgery_leaves_what_agrees",
    "test_warm_start.py::test_a_slower_variable_moves_by_a_share_of_its_update",
    "test_adafactor.py::test_it_is_the_papers_formula",
    "test_adafactor.py::test_an_expert_is_a_variable_of_its_own",
    "test_adafactor.py::test_after_a_checkpoint_it_goes_on_to_the_same_bits",
    "test_remat.py::test_loss_gradients_and_seeds_are_those_of_plain_training[text_to_text]",
    "test_model_contract.py",
    "test_check_modality.py::test_every_shipped_modality_passes[numbers]",
    "test_check_modality.py::test_every_shipped_modality_passes[label_set]",
    "test_causality.py::test_blocks_do_not_look_ahead",
    "test_padding.py::test_blocks_see_nothing_behind_the_end",
    "test_padding.py::test_readers_see_nothing_behind_the_source",
    "test_decoding.py::test_steps_equal_the_whole",
    "test_decoding.py::test_compiled_decoding_equals_eager[3]",
)
# Half the compiling. XLA ends a process that sets a flag it does not know: for the release that this was tried with.
QUICK_COMPILER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
QUICK_COMPILER_OF_JAX = "0.10."
CHILD = """
import sys
import models, pytest  # the tests in this process share models.py's results
status = pytest.main(sys.argv[2:])
models.write_outputs(sys.argv[1])
sys.exit(int(status))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec(OTHER) is None, reason=f"{OTHER} is not installed"),
    pytest.mark.timeout(1200),  # the child's compiling falls to whichever test comes first
]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The child's exit status, its output and {name: array} of what its model computed."""
    file = tmp_path_factory.mktemp("other_backend") / "outputs.npz"
    tests = REPOSITORY / "tests"
    options = ["--color=no", "-p", "no:cacheprovider"]
    environment = os.environ | {
        "KERAS_BACKEND": OTHER,
        "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles twice as fast
    }
    if OTHER == "jax" and importlib.metadata.version("jax").startswith(QUICK_COMPILER_OF_JAX):
        environment["XLA_FLAGS"] = QUICK_COMPILER
    command = [sys.executable, "-c", CHILD, str(file), *options, *(f"tests/{test}" for test in CHOSEN)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    outputs = {}
    if file.exists():
        with np.load(file, allow_pickle=False) as arrays:
            outputs = dict(arrays)
    return SimpleNamespace(status=done.returncode, text=done.stdout + done.stderr[-4000:], outputs=outputs)


def test_chosen_tests_pass_on_the_other_backend(other):
    assert other.status == 0, other.text


def test_variables_have_the_same_paths(other):
    """So that a checkpoint of one backend loads on the other."""
    assert other.outputs["paths"].tolist() == [v.path for v in shared_model().variables]


@pytest.mark.parametrize("name", SPECS)
def test_logits_loss_and_gradients_agree(name, other):
    """In training mode, label smoothing and the experts' slots included; the gating noise is the same on both."""
    mine = training_outputs(SPECS[name])
    theirs = {key.removeprefix(f"{name}:"): array for key, array in other.outputs.items() if key.startswith(f"{name}:")}
    agree = {"atol": 1e-4, "rtol": 1e-4}
    np.testing.assert_allclose(mine["logits"], theirs["logits"], **agree)
    np.testing.assert_allclose(mine["loss"], theirs["loss"], **agree)
    compared = 0
    for path, gradient in mine["gradients"].items():
        their_gradient = theirs.get(f"gradient:{path}")
        if gradient is None or their_gradient is None:  # one backend says "none" where the other says "zero"
            gradient, their_gradient = (0.0 if g is None else g for g in (gradient, their_gradient))
        np.testing.assert_allclose(gradient, their_gradient, err_msg=path, **agree)
        compared += bool(np.abs(gradient).max() > 1e-3)
    assert compared > 30
