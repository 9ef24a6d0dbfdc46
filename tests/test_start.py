"""What a command imports at its start, and a whole start from a folder of kept programs that is damaged."""

import os
import subprocess
import sys

import pytest

LEAN = """
import gc, sys
from t2t_multimodel import startup
startup.this_process_is_a_command()
startup.set_environment("tensorflow")
startup.import_backend()
assert not {"jax", "matplotlib"} & set(sys.modules), "imported although nothing uses them"
import matplotlib, tensorflow, keras
assert gc.isenabled() and not any(type(finder).__name__ == "_Absent" for finder in sys.meta_path)
assert float(keras.ops.sum(keras.ops.ones((2, 3)))) == 6
"""


def test_a_command_imports_neither_jax_nor_matplotlib_with_tensorflow():
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_damaged_folder_of_programs_changes_no_answer(small_run, tmp_path):
    """Of all files a byte: what traced programs, and what XLA compiled."""
    (tmp_path / "in.txt").write_text("1\n")
    command = [sys.executable, "-m", "t2t_multimodel.cli.decoder", "--problem=report_words"]
    command += [f"--output_dir={small_run['output_dir']}", f"--t2t_usr_dir={small_run['t2t_usr_dir']}"]
    command += [f"--decode_from_file={tmp_path / 'in.txt'}", f"--compile_cache={tmp_path / 'kept'}"]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow"}

    def answer():
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        return done.stdout

    def files():
        return {path.name: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}

    first, kept = answer(), files()
    assert sorted(name.rpartition(".")[2] for name in kept) == ["program", "program", "xla"]
    for path in (tmp_path / "kept").rglob("*.*"):
        content = bytearray(path.read_bytes())
        content[-len(content) // 3] ^= 32
        path.write_bytes(content)
    assert answer() == first
    assert [name for name, content in files().items() if content == kept.get(name)], "nothing was made anew"
