"""The benchmarks: they run, count right, and their page says what was measured, missed and not run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graph_operations import operations_of_graph

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import arithmetic  # noqa: E402
import common  # noqa: E402
import run_all  # noqa: E402

pytestmark = pytest.mark.slow

# Without dilation: where it is, the graph leaves out taps that see padding alone.
SMALL = {
    "large_dilation": 1,
    "encoder_blocks": 2,
    "attention_blocks": 1,
    "mixer_blocks": 1,
    "decoder_blocks": 2,
    "num_heads": 4,
    "image_stem_filters": (8, 16),
    "image_residual_filters": (24, 0),
}


def lines_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"benchmark"')]


def by_name(line):
    return {figure["what"]: figure for figure in line["figures"]}


@pytest.mark.parametrize("experts", (4, 0))
def test_the_arithmetic_is_that_of_the_graph(experts):
    """With as many experts as a token uses, every product of the graph is one that is counted."""
    changes = SMALL | {"use_experts": bool(experts)}
    hparams = common.body(32, experts or 4, **changes)
    spec, batch = common.text_problem(vocabulary=300), common.text_batch(2, 12, vocabulary=300, target_length=20)
    counted = arithmetic.forward(hparams, spec, batch)
    assert operations_of_graph(common.make_model(hparams, [spec]), spec, batch) == counted


def test_the_arithmetic_of_pictures_is_that_of_the_graph():
    hparams, spec = common.body(32, 4, **SMALL), common.picture_problem(32)
    batch = common.picture_batch(2, 32)
    graph = operations_of_graph(common.make_model(hparams, [spec]), spec, batch)
    counted = arithmetic.forward(hparams, spec, batch)
    # A strided step of the graph computes its depthwise part everywhere and keeps a quarter.
    assert counted <= graph <= 1.05 * counted


def test_a_training_step_is_measured_against_products(capsys):
    import training_step

    training_step.main(32, rows=2, length=8, rounds=1, precisions=["mixed_bfloat16"], **SMALL)
    (line,) = lines_of(capsys)
    assert line["gigaflops"] / line["matrix_gigaflops"] == pytest.approx(line["fraction"], rel=0.01)
    figure = by_name(line)["training step, hidden 32, mixed_bfloat16"]
    assert figure["value"] == pytest.approx(32 / line["seconds"], rel=0.01)
    assert figure["ratio"] == pytest.approx(line["fraction"], rel=0.01)
    assert line["environment"]["machine"] and line["environment"]["date"]


def test_the_originals_layers_train_as_a_model_of_ours(monkeypatch):
    """The original's model out of this project's parts: as many weights as the original has, and a loss that falls."""
    import original

    common.import_backend()
    monkeypatch.setitem(original.SETS, 32, (2, 64, 0))
    spec = original.text_problem(300)
    hparams = original.hparams_of(32, 8)
    model = original.Original(hparams, spec, *original.SETS[32])
    step = common.make_step(model, hparams)
    batch = common.text_batch(2, 8, vocabulary=300)
    losses = [step.update([(spec, batch)], 3e-3)[0][0]["cross_entropy"] for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]
    half = common.in_precision("mixed_bfloat16", lambda: original.Original(hparams, spec, *original.SETS[32]))
    assert half.encoder[0].compute_dtype == "bfloat16" and np.isfinite(float(half.loss(batch, spec)[0]))
    # By hand, of one encoder layer and one decoder layer with experts, which the other lacks.
    size, filters, wide = 32, 64, original.DECODER_EXPERT_SIZE
    convolutions = 3 * size + 3 * filters + 15 * filters + 15 * size + size * filters + 2 * filters**2 - filters**2
    convolutions += filters * filters + filters * size + size * size + 2 * filters + 2 * size
    norms = 2 * (2 * filters + 2 * size)
    experts = lambda inner: 8 * 2 * size * inner + 2 * size * 8 + 2 * size
    encoder = convolutions - filters**2 + norms + experts(filters) + 2 * size
    assert sum(int(v.numpy().size) for v in model.encoder[0].trainable_variables) == encoder
    decoder = 8 * size * size + 4 * size + experts(wide)
    assert sum(int(v.numpy().size) for v in model.decoder[0].trainable_variables) == decoder


@pytest.mark.parametrize("pictures", (False, True))
def test_the_arithmetic_of_the_originals_layers_is_that_of_the_graph(monkeypatch, pictures):
    """With as many experts as a token uses: every token meets all of them, as it is counted."""
    common.import_backend()
    import original

    monkeypatch.setitem(original.SETS, 32, (2, 64, 0))
    hparams = original.hparams_of(32, original.EXPERTS_PER_TOKEN)
    spec = common.picture_problem(8) if pictures else original.text_problem(300)
    batch = common.picture_batch(2, 8) if pictures else common.text_batch(2, 64, vocabulary=300, target_length=20)
    counted = original.operations(hparams, spec, batch)
    graph = operations_of_graph(original.Original(hparams, spec, *original.SETS[32]), spec, batch)
    # In the graph of evaluation the gates' noise is missing, which is of training alone.
    layers_of_experts = 2 * [batch["inputs"][..., 0].size if pictures else batch["inputs"].size]
    layers_of_experts += [] if pictures else [batch["targets"].size]
    noise = sum(arithmetic.product(tokens, 32, original.EXPERTS_PER_TOKEN) for tokens in layers_of_experts)
    assert graph + noise == counted / 3


def test_against_t2t_says_what_it_lacks(tmp_path, capsys):
    import against_t2t

    (tmp_path / "bench_train.py").write_text("")
    for arguments in ([], [f"--baseline={tmp_path}"], [f"--baseline={tmp_path}", "--environment=nowhere"]):
        with pytest.raises(SystemExit) as ended:
            against_t2t.main(arguments)
        assert ended.value.code == common.NOT_RUN
        said = capsys.readouterr().err
        assert said.startswith("not run: ") and "setup.sh VENV" in said


@pytest.mark.parametrize("part", ("text_512", "pictures", "beam"))
def test_against_t2t_takes_turns_and_divides(tmp_path, capsys, monkeypatch, part):
    """The original's lines are of the form that its scripts print; two processes of each kind, in turn."""
    import against_t2t

    (tmp_path / "bench_train.py").write_text("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("")
    commands = []

    def last_json(command, folder=None):
        commands.append(command)
        if folder:
            assert folder == tmp_path and command[0] == str(tmp_path / "bin" / "python")
            return {"step_s_median": 2.0, "tokens_per_s": 100.0, "params": 7}
        return {"rate": 3000.0, "parameters": 8} | ({} if part == "beam" else {"limit": 6000.0})

    monkeypatch.setattr(against_t2t, "last_json", last_json)
    against_t2t.main([f"--baseline={tmp_path}", f"--environment={tmp_path}", f"--parts={part}"])
    (line,) = lines_of(capsys)
    t2t = {"text_512": 16 * 64 / 2.0, "pictures": 4 / 2.0, "beam": 100.0}[part]
    assert line["t2t"] == t2t and line["figures"][0]["value"] == pytest.approx(3000 / t2t, rel=1e-3)
    kinds = [c[1].split("=")[-1] if c[1].startswith("bench_") else c[2] for c in commands]
    assert kinds == 2 * kinds[: len(kinds) // 2] and len(kinds) == (4 if part == "beam" else 10)
    limit = None if part == "beam" else pytest.approx(6000 / t2t, rel=1e-3)
    assert line["figures"][0].get("limit") == limit
    assert line["t2t_parameters"] == 7 and line["own_parameters"] == 8


def test_two_workers_decode_in_turn_with_one_process(capsys):
    import decoding

    decoding.main(32, rows=2, greedy=(8,), beam=(8,), rounds=1, **SMALL)
    *_, greedy, beam = lines_of(capsys)
    assert (greedy["beam"], beam["beam"], greedy["workers"]) == (1, 4, 2)
    figure = by_name(greedy)["greedy decoding, 2 workers, hidden 32, 8 ids, a batch in equal parts"]
    assert figure["value"] > 0 and figure["limit"] == pytest.approx(greedy["one_process"] / 2, rel=0.01)


def test_memory_counts_the_weights_of_a_model():
    import memory

    hparams = common.body(32, 6, **SMALL)
    assert memory.parameters(hparams) == common.make_model(hparams, [common.text_problem()]).count_params()


def test_top_kernels_of_a_device_and_of_a_processor():
    import accelerator

    def named(kind, pid, name, tid=0):
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}

    def spent(pid, tid, name, microseconds):
        return {"ph": "X", "pid": pid, "tid": tid, "name": name, "dur": microseconds}

    host = [
        named("process_name", 1, "/host:CPU"),
        named("thread_name", 1, "tf_XLAEigen/1", 7),
        named("thread_name", 1, "python", 8),
        spent(1, 7, "dot.1", 30),
        spent(1, 8, "step", 500),
    ]
    assert accelerator.top_kernels(host) == [["dot.1", 1.0]]
    device = [
        named("process_name", 2, "/device:GPU:0"),
        named("thread_name", 2, "Stream #3(Compute)", 1),
        named("thread_name", 2, "XLA Modules", 2),
        spent(2, 1, "gemm", 60),
        spent(2, 1, "gemm", 15),
        spent(2, 1, "copy", 25),
        spent(2, 2, "jit_update", 100),
    ]
    assert accelerator.top_kernels(host + device) == [["gemm", 0.75], ["copy", 0.25]]


def on_jax(script, *flags, **environment):
    """The line that a benchmark prints in a process of its own."""
    small = "--hparams=encoder_blocks=1,mixer_blocks=0,decoder_blocks=1,use_experts=False,hidden_size=32"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), small, *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads(done.stdout.splitlines()[0])
    assert line["environment"]["backend"] == "jax"
    return line


def test_the_gpu_benchmark_runs_where_tensorflow_can_not_be_imported(tmp_path):
    """On a processor, with a TensorFlow in the way that fails: the JAX road must not touch it."""
    pytest.importorskip("jax")
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no tensorflow here')")
    flags = ("--hparams_set=multimodel_tiny", "--rows=1", "--length=4", "--rounds=1", "--decode_rows=")
    line = on_jax("accelerator.py", *flags, PYTHONPATH=str(tmp_path))
    assert line["matrix_teraflops"] > 0
    assert isinstance(line["kernels"], list) and 0 < len(line["kernels"]) <= 10


def test_the_hosts_work_is_held_against_a_call_with_as_many_arrays():
    pytest.importorskip("jax")
    line = on_jax("host_work.py", "--experts=4", "--rows=1", "--length=4", "--steps=2")
    assert 0 < line["call_ms"] < line["all_ms"] and 0 < line["empty_ms"] and line["arrays"] > 50


# ---- The page


FIGURES = [
    common.figure("fast", 21000.0, "tokens/s", at_least=20000, limit=40000.0, limit_is="products"),
    common.figure("slow", 0.3, "ms/token", at_most=0.15),
]
SCRIPT = f"""
import common
FIGURES = {FIGURES!r}
if __name__ == "__main__":
    common.report("%s", FIGURES, seconds=1.5)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of benchmarks: one that runs, one that fails after a line, one that lacks something, and a helper."""
    (tmp_path / "good.py").write_text(SCRIPT % "good")
    (tmp_path / "broken.py").write_text(SCRIPT % "broken" + "    raise ValueError('it | broke')\n")
    (tmp_path / "lacking.py").write_text('import common\nif __name__ == "__main__":\n    common.not_run("no GPU")\n')
    (tmp_path / "helper.py").write_text("raise AssertionError('not to be run')\n")
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    monkeypatch.setattr(run_all, "__file__", str(tmp_path / "run_all.py"))
    return tmp_path


def run(folder, *arguments):
    return run_all.main([f"--page={folder}/page.md", f"--lines={folder}/build/lines.jsonl", *arguments])


def test_one_that_fails_keeps_nothing_else_from_the_page(folder, capsys):
    assert run(folder) == 1
    page = (folder / "page.md").read_text()
    assert "| fast | 21,000 tokens/s | 40,000 (products) | 0.525 | ≥ 20,000 | reached |" in page
    assert "| slow | 0.3 ms/token |  |  | ≤ 0.15 | missed |" in page
    assert "| `broken` | failed | ValueError: it \\| broke |" in page
    assert "| `lacking` | not run | no GPU |" in page
    assert page.count("| fast |") == 2  # what the broken one measured before it broke stands too
    assert common.processor() in page and "helper" not in page
    assert "failed: broken" in capsys.readouterr().out


def test_one_run_again_replaces_its_lines_and_remarks_stay(folder):
    assert run(folder) == 1
    page = folder / "page.md"
    page.write_text("# Speed\n\nFirst this.\n\n" + page.read_text().removeprefix("# Performance\n\n"))
    page.write_text(page.read_text() + "\n## Remarks\n\nWritten by hand.\n")
    (folder / "broken.py").write_text((folder / "good.py").read_text().replace("21000", "19000"))
    assert run(folder, "--only=broken") == 0
    text = page.read_text()
    assert "19,000 tokens/s" in text and "21,000 tokens/s" in text and "it \\| broke" not in text
    assert text.startswith("# Speed\n\nFirst this.\n\n## Measured\n\nWritten by `make bench`")
    assert text.endswith("## Remarks\n\nWritten by hand.\n")
    assert run(folder, "--page_only") == 0 and page.read_text() == text
    with pytest.raises(SystemExit, match="no benchmark 'brokn'; there are: broken, good, lacking"):
        run(folder, "--only=brokn")


def test_one_that_hangs_is_ended(folder, monkeypatch):
    (folder / "hanging.py").write_text('import time\nif __name__ == "__main__":\n    time.sleep(60)\n')
    monkeypatch.setattr(run_all, "MOST_SECONDS", 0.5)
    assert run(folder, "--only=hanging") == 1
    assert "| `hanging` | failed | took more than 0.5 s |" in (folder / "page.md").read_text()
