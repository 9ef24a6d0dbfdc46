"""Lines given to t2t-decoder: a byte-order mark is dropped, what is no UTF-8 text is refused, and nothing waits."""

import io
import os
import sys
from dataclasses import replace

import pytest

from t2t_multimodel.cli import decoder
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.modalities import Audio, Image, ProblemSpec, Text

pytestmark = pytest.mark.timeout(60)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes("\ufeffthe red circle\r\n\ufeffthe blue one\r\n\r\n".encode())
    assert list(decoder.read_lines(path)) == ["the red circle", "\ufeffthe blue one", ""]


@pytest.mark.parametrize(
    "content, reason",
    [
        ("the red circle\n".encode("utf-16"), "in.txt:1: not UTF-8 but UTF-16"),
        ("the red circle\n".encode("utf-16-le"), "in.txt:1: a NUL byte, so this is UTF-16"),
        ("the red circle\n".encode("utf-16-be"), "in.txt:1: a NUL byte, so this is UTF-16"),
        ("the red circle\n".encode("utf-32"), "in.txt:1: not UTF-8 but UTF-32"),
        ("ok\nGrüße\n".encode("latin-1"), "in.txt:2: not UTF-8 (byte 0xfc"),
        (b"one\rtwo\rthree\r", "in.txt:1: lines end in CR alone"),
        (b"ok\n" + b"x" * 2_000_000, "in.txt:2: a line of more than 1,048,576 characters"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(content, reason, tmp_path):
    (tmp_path / "in.txt").write_bytes(content)
    with pytest.raises(UserError) as error:
        list(decoder.read_lines(tmp_path / "in.txt"))
    assert f"--decode_from_file={tmp_path}/{reason}" in str(error.value) and "\n" not in str(error.value)


def test_a_longer_line_is_read_where_the_flag_allows_it(tmp_path):
    (tmp_path / "in.txt").write_text("x" * 100)
    with pytest.raises(UserError, match="more than 99 characters, the most that max_line_length allows"):
        list(decoder.read_lines(tmp_path / "in.txt", max_line_length=99))
    assert list(decoder.read_lines(tmp_path / "in.txt", max_line_length=100)) == ["x" * 100]


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        (tmp_path / "pipe", "a pipe, a regular file expected"),
        ("/dev/zero", "a device, a regular file expected"),
        (tmp_path, "a folder, a regular file expected"),
        (tmp_path / "loop", "Too many levels"),
        (tmp_path / ("n" * 300), "File name too long"),
        ("a\0b", "not a file name"),
    ):
        with pytest.raises(UserError, match=f"--decode_from_file=.*{reason}"):
            list(decoder.read_lines(path))
    assert list(decoder.read_lines(os.devnull)) == []


def test_a_pipe_that_is_open_already_is_read(monkeypatch):
    """A shell's `--decode_from_file=<(command)`, and standard input."""
    reader, writer = os.pipe()
    os.write(writer, "\ufeffone\ntwo\n".encode())
    os.close(writer)
    assert list(decoder.read_lines(f"/dev/fd/{reader}")) == ["one", "two"]
    os.close(reader)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffone\ntwo\n".encode())))
    assert list(decoder.read_lines("-")) == ["one", "two"] and not sys.stdin.buffer.closed


# ---- Windows of lines, for workers


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("wrong", ["an input", "a line"])
def test_a_window_is_begun_before_the_one_before_ends_and_errors_keep_their_place(ahead, wrong):
    events = []

    def begin(inputs, first_row=0):
        events.append(("begun", first_row))
        if "bad" in inputs:
            raise UserError(f"input {first_row + inputs.index('bad') + 1} is wrong")

        def finish():
            events.append(("ended", first_row))
            return [text.upper() for text in inputs]

        return finish

    def lines():
        yield from "abcdef"
        if wrong == "a line":
            yield "g"
            raise UserError("line 8 is wrong")
        yield from ("g", "bad", "i", "j")

    found = []
    with pytest.raises(UserError, match="input 8 is wrong" if wrong == "an input" else "line 8 is wrong"):
        for output in decoder.decode_stream(begin, lines(), window=3, ahead=ahead):
            found.append(output)
    assert found == list("ABCDEFG" if wrong == "a line" else "ABCDEF")  # all that stands before it, or its window
    order = [("begun", 0), ("ended", 0), ("begun", 3), ("ended", 3)]
    if ahead:
        order = [("begun", 0), ("begun", 3), ("ended", 0), ("ended", 3)]
    ended = [event for event in events if event[1] < 6]
    assert ended == order


def test_recordings_are_decoded_few_at_a_time():
    """A line names a file of a megabyte."""
    hparams = replace(HParams(), batch_examples=32)
    spec = lambda inputs: ProblemSpec("any", inputs, Text(), 3)
    assert decoder.window_of(spec(Text()), hparams, workers=1) == decoder.WINDOW
    assert decoder.window_of(spec(Audio()), hparams, workers=1) == 64
    assert decoder.window_of(spec(Audio()), hparams, workers=8) == 512
    assert decoder.window_of(spec(Image(8, 8, 3)), replace(hparams, batch_examples=9999), workers=8) == decoder.WINDOW


# ---- --decode_interactive


def typed(content, monkeypatch, capsys, **options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    rows = []

    def decode(inputs, first_row=0):
        rows.append(first_row)
        return lambda: [text.upper() for text in inputs]

    decoder._interact(decode, False, options.get("max_line_length", 100))
    out, error = capsys.readouterr()
    return out.splitlines(), error.splitlines(), rows


def test_a_line_in_another_encoding_is_refused_and_the_next_ones_are_answered(monkeypatch, capsys):
    lines = [b"one", b"gr\xfc\xdfe", "zwölf".encode(), b"a\0b", b"x" * 101, b"", b"last"]
    out, error, rows = typed(b"\n".join(lines), monkeypatch, capsys)
    assert out == ["ONE", "ZWÖLF", "", "LAST"] and rows == [0, 2, 6]
    said = ["the line is not UTF-8", "the line has a NUL byte", "more than the 100 characters that --max_line_length"]
    assert len(error) == 3 and all(words in line for words, line in zip(said, error))


def test_a_byte_order_mark_is_no_part_of_the_first_typed_line(monkeypatch, capsys):
    assert typed("\ufeffone\r\ntwo\r\n".encode(), monkeypatch, capsys)[0] == ["ONE", "TWO"]
