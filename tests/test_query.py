"""t2t-query writes what t2t-decoder would, asking a server."""

import pytest
from served import picture, server

from t2t_multimodel.cli import query

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def url():
    with server("--max_queue=32", delay=0.01) as process:
        yield process.url


def test_a_file_line_by_line_in_order(url, tmp_path, run_command):
    lines = [f"line {i}" if i % 9 else "" for i in range(300)]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    files = [f"--decode_from_file={tmp_path}/in.txt", f"--decode_to_file={tmp_path}/out.txt"]
    # (more at once than may wait: the server refuses some, which are asked again)
    status, _, error = run_command(query.main, f"--server={url}", "--problem=words", *files, "--connections=4")
    assert status == 0, error
    assert (tmp_path / "out.txt").read_text() == "".join(line.upper() + "\n" for line in lines)


@pytest.mark.parametrize("how", [["--batch=2"], ["--batch=2", "--connections=1"], ["--stream"]])
def test_sampled_answers_differ_by_the_number_of_the_input_in_the_file(how, url, tmp_path, run_command):
    (tmp_path / "in.txt").write_text("a\n\nb\nc\nd\ne\n")
    asked = [f"--server={url}", "--problem=words", f"--decode_from_file={tmp_path}/in.txt", *how]
    status, output, error = run_command(query.main, *asked, "--decode_hparams=temperature=0.5,seed=1")
    assert (status, output) == (0, "A 0\n\nB 1\nC 2\nD 3\nE 4\n"), error


def test_scores_pictures_and_several_inputs(url, tmp_path, run_command):
    (tmp_path / "light.png").write_bytes(picture(255))
    for problem, line, flags, wanted in (
        ("words", "a", ["--decode_hparams=return_beams=2", "--write_scores"], "A\t0.000000\tA 1\t-1.000000\n"),
        ("shades", f"{tmp_path}/light.png", [], "light\n"),
        ("asked", f"{tmp_path}/light.png\twhy", [], "light WHY\n"),
    ):
        (tmp_path / "in.txt").write_text(line + "\n")
        asked = [f"--server={url}", f"--problem={problem}", f"--decode_from_file={tmp_path}/in.txt", *flags]
        assert run_command(query.main, *asked)[:2] == (0, wanted)


@pytest.mark.parametrize(
    "problem, line, words",
    [
        ("word", "a", "did you mean 'words'"),
        ("words", "x " * 51, "refuses (400): words: the input is longer (51)"),
        ("shades", "missing.png", "line 1: missing.png: No such file"),
        ("asked", "a", "line 1 must have 2 columns"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(problem, line, words, url, tmp_path, run_command):
    (tmp_path / "in.txt").write_text(line + "\n")
    files = [f"--decode_from_file={tmp_path}/in.txt", f"--decode_to_file={tmp_path}/out.txt"]
    status, _, error = run_command(query.main, f"--server={url}", f"--problem={problem}", *files)
    assert status == 2 and words in error and len(error.splitlines()) == 1, error
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_a_stream_is_written_as_it_comes(url, tmp_path, run_command, monkeypatch):
    (tmp_path / "in.txt").write_text("one two three\n\nfour break\n")
    asked = [f"--server={url}", "--problem=words", f"--decode_from_file={tmp_path}/in.txt", "--stream"]
    written = []
    monkeypatch.setattr(query.terminal, "write_data", written.append)
    status, _, error = run_command(query.main, *asked)
    assert written == ["ONE", " TWO", " THREE", "", "\n", "\n", "FOUR"]
    assert status == 2 and "refuses (500): an error in the server" in error and len(error.splitlines()) == 1
    for flag in (f"--decode_to_file={tmp_path}/out.txt", "--write_scores"):
        status, _, error = run_command(query.main, *asked, flag)
        assert status == 2 and "--stream writes one answer to standard output" in error


def test_no_server_there(tmp_path, run_command):
    (tmp_path / "in.txt").write_text("a\n")
    flags = ["--problem=words", f"--decode_from_file={tmp_path}/in.txt"]
    status, _, error = run_command(query.main, "--server=http://127.0.0.1:1", *flags)
    assert status == 2 and "is t2t-server running there?" in error
    status, _, error = run_command(query.main, "--server=ftp://x", *flags)
    assert status == 2 and "http://127.0.0.1:8501" in error
