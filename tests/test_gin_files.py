"""A gin file sets hyper-parameters and can do nothing else: nothing of it is imported, called or looked up."""

import os
import sys

import pytest

from t2t_multimodel.cli import settings
from t2t_multimodel.errors import UserError


def resolved(folder, text, **more):
    (folder / "mine.gin").write_text(text, encoding="utf-8")
    return settings.resolve("multimodel_tiny", gin_files=[str(folder / "mine.gin")], **more).hparams


# Each would run `touch PWNED`, import a module, or reach a value outside of the file, in gin itself.
WAYS_IN = {
    "dynamic registration": (
        "from __gin__ import dynamic_registration\nimport subprocess\nsubprocess.getoutput.cmd = 'touch PWNED'\n"
        "HParams.mixture_schedule = @subprocess.getoutput()\n"
    ),
    "import": "import antigravity\nHParams.hidden_size = 64\n",
    "import with a name": "import antigravity as HParams\nHParams.hidden_size = 64\n",
    "import from": "from os import path\nHParams.hidden_size = 64\n",
    "import of gin's own": "from __gin__ import dynamic_registration\nHParams.hidden_size = 64\n",
    "called reference": "HParams.mixture_schedule = @subprocess.getoutput()\n",
    "reference": "HParams.mixture_schedule = @HParams\n",
    "reference to itself": "HParams.mixture_schedule = @HParams()\n",
    "reference in a list": "HParams.image_stem_filters = (32, @os.getpid())\n",
    "reference in a dict": "HParams.image_stem_filters = {1: @os.getpid()}\n",
    "reference over lines": "HParams.image_stem_filters = (32,\n\n  @os.getpid()\n)\n",
    "reference in a macro": "PID = @os.getpid()\nHParams.hidden_size = %PID\n",
    "reference in a block": "HParams:\n  hidden_size = @os.getpid()\n",
    "reference with a scope": "HParams.hidden_size = @some/os.getpid()\n",
    "constant of gin": "HParams.hidden_size = %gin.REQUIRED\n",
    "constant of another module": "HParams.mixture_schedule = %os.sep\n",
    "macro as a configurable": "HParams.hidden_size = @SIZE/gin.macro()\nSIZE/gin.macro.value = 64\n",
    "gin's macro": "SIZE/gin.macro.value = 64\nHParams.hidden_size = %SIZE\n",
    "another configurable": "gin.singleton.constructor = 3\n",
    "another module's": "os.HParams.hidden_size = 64\n",
    "scope": "some/HParams.hidden_size = 64\n",
    "scope of a block": "some/HParams:\n  hidden_size = 64\n",
    "block of another": "subprocess.getoutput:\n  cmd = 'touch PWNED'\n",
    "expression": "HParams.hidden_size = __import__('os').system('touch PWNED')\n",
    "product": "HParams.hidden_size = 9 ** 9 ** 9\n",
    "f-string": "HParams.mixture_schedule = f\"{__import__('os').system('touch PWNED')}\"\n",
    "bytes": "HParams.mixture_schedule = b'fixed'\n",
    "list in a list": "HParams.image_stem_filters = ((8, 8), 8)\n",
    "doubling macros": "A = (1, 1)\n"
    + "".join(f"{b} = (%{a}, %{a})\n" for a, b in zip("ABCDEFG", "BCDEFGH"))
    + "HParams.image_stem_filters = %H\n",
    "depth": "HParams.hidden_size = " + "(" * 100_000 + "\n",
    "a macro of itself": "A = %B\nB = %A\nHParams.hidden_size = %A\n",
    "a macro without a value": "HParams.hidden_size = %SIZE\n",
    "digits": "HParams.hidden_size = " + "9" * 10_000 + "\n",
    "NUL": "HParams.hidden_size = 64\0\n",
    "open bracket": "HParams.image_stem_filters = (8,\n",
    "open string": "HParams.mixture = '''fixed\n",
    "indentation": "HParams:\n    hidden_size = 64\n  num_heads = 2\n",
    "nothing of gin": "\x7fELF\x02\x01\x01",
}


@pytest.mark.parametrize("included", [False, True], ids=["in the file", "in an included one"])
@pytest.mark.parametrize("way", WAYS_IN)
def test_every_other_statement_is_refused_with_one_line(tmp_path, monkeypatch, way, included):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    text = WAYS_IN[way]
    if included:
        (tmp_path / "inner.gin").write_text(text, encoding="utf-8")
        text = "include 'inner.gin'\n"
    with pytest.raises(UserError, match="--gin_file=.*mine.gin") as error:
        resolved(tmp_path, text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    assert not included or "inner.gin" in str(error.value)
    assert "antigravity" not in set(sys.modules) - before
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("way", ["dynamic registration", "import", "called reference", "constant of gin", "scope"])
def test_bindings_are_held_to_the_same_rules(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--gin_bindings"):
        settings.resolve("multimodel_tiny", gin_bindings=[WAYS_IN[way]])
    assert not (tmp_path / "PWNED").exists()


def test_literals_macros_blocks_and_includes_are_values(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "inner.gin").write_text("include 'beside.gin'\nFILTERS = (%SIZE, 16)\n")
    (tmp_path / "more" / "beside.gin").write_text("# sizes\nSIZE = 8\n")
    text = (
        "include 'more/inner.gin'\nHParams.image_stem_filters = %FILTERS  # a remark\nHParams.mixture = 'si' 'ze'\n"
        "t2t_multimodel.HParams.dropout = 0.25\nHParams:\n  hidden_size = 64\n  num_heads = 2\n"
        "HParams.use_experts = False\nHParams.weight_decay = 1e-3\n"
    )
    values = resolved(tmp_path, text)
    assert (values.image_stem_filters, values.mixture, values.dropout) == ((8, 16), "size", 0.25)
    assert (values.hidden_size, values.num_heads, values.use_experts, values.weight_decay) == (64, 2, False, 1e-3)


def test_the_last_value_of_a_macro_counts(tmp_path):
    text = "SIZE = 64\nHParams.hidden_size = %SIZE\n"
    assert resolved(tmp_path, text, gin_bindings=["SIZE = 32"]).hidden_size == 32


def test_an_included_file_is_found_from_the_working_directory_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner.gin").write_text("HParams.dropout = 0.25\n")
    (tmp_path / "far").mkdir()
    assert resolved(tmp_path / "far", "include 'inner.gin'\n").dropout == 0.25


def test_includes_that_loop_are_missing_or_elsewhere_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (tmp_path / "outside.gin").write_text("HParams.dropout = 0.25\n")
    (inside / "link.gin").symlink_to(tmp_path / "outside.gin")
    (inside / "loop.gin").write_text("include 'mine.gin'\n")
    (inside / "folder.gin").mkdir()
    os.mkfifo(inside / "fifo.gin")
    for name, said in {
        "loop.gin": "includes itself",
        "mine.gin": "includes itself",
        "none.gin": "does not exist",
        "a\\0b": "does not exist",
        "../outside.gin": "not inside",
        str(tmp_path / "outside.gin"): "not inside",
        "link.gin": "not inside",
        "/dev/zero": "not inside",
        "fifo.gin": "a regular file expected",
        "folder.gin": "folder.gin",
    }.items():
        with pytest.raises(UserError, match=said) as error:
            resolved(inside, f"include '{name}'\n")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="string"):
        resolved(inside, "include 3\n")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * 2_000_000], ids=["not UTF-8", "2 MB"])
def test_a_file_that_is_no_text_is_one_line(tmp_path, content):
    (tmp_path / "mine.gin").write_bytes(content)
    with pytest.raises(UserError, match="mine.gin"):
        settings.resolve("multimodel_tiny", gin_files=[str(tmp_path / "mine.gin")])


@pytest.mark.parametrize("line", ["hidden_size = 8", "dropout = 0.5", "HParams = 8"])
def test_a_line_that_only_looks_like_an_hparam_is_no_silence(tmp_path, line):
    with pytest.raises(UserError, match=rf"line 1: {line.split()[0]} is a macro, which sets nothing.* by HParams\."):
        resolved(tmp_path, line + "\n")


def test_a_macro_with_the_name_of_an_hparam_may_be_used(tmp_path):
    assert resolved(tmp_path, "hidden_size = 8\nunused = 3\nHParams.hidden_size = %hidden_size\n").hidden_size == 8
