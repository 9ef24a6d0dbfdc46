"""Promise: any text can be printed, whatever standard output is; no text of a stranger's steers the terminal."""

import io
import os
import sys

import pytest

from t2t_multimodel.cli import terminal
from t2t_multimodel.cli.command import Command
from t2t_multimodel.cli.terminal import PlainStream
from t2t_multimodel.errors import UserError, printable

STEERING = ["\x1b[31m", "\x1b]0;pwned\x07", "\x9b2J", "\x7f", "\x08", "\u202e", "\u2066", "\u2028", "\udcff", "\ufeff"]


def command(function):
    frame = Command("x", "Does.\nExamples:\n  x")
    frame.group("What")
    frame.standard_flags(backend=False)
    return lambda argv=(): frame.run(function, list(argv))


def stream(encoding, **more):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="", **more)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_no_text_raises_in_any_encoding(encoding, errors):
    raw = stream(encoding, errors=errors)
    plain = PlainStream(raw)
    print("Größe → Рим 犬 \udcff", file=plain, flush=True)
    assert raw.buffer.getvalue().decode(encoding).startswith("Gr")


@pytest.mark.parametrize("text", STEERING, ids=ascii)
def test_what_steers_a_terminal_is_escaped(text, run_command):
    assert printable(f"a{text}b") == "a" + text.encode("unicode_escape", "surrogatepass").decode() + "b" or "x" in text
    assert not set(printable(text)) & set("\x1b\x9b\x07\x7f\x08\u202e\u2066\u2028\udcff\ufeff")

    def prints(flags):
        print(f"made {text}")
        print(f"notice {text}", file=sys.stderr)
        raise UserError(f"no such file {text}")

    status, out, error = run_command(command(prints))
    assert status == 2 and len(error.splitlines()) == 2
    for shown in (out, error, str(UserError(text))):
        assert not set(shown) & set("\x1b\x9b\x07\x7f\x08\u202e\u2066\u2028\udcff\ufeff"), ascii(shown)


def test_ordinary_text_is_not_changed():
    raw = stream("utf-8")
    plain = PlainStream(raw)
    text = "two words\tGröße 犬 👩\u200d👩 1\xa0000 می\u200cخواهم\nnext\n"
    progress = ["\r|##   |", "\n", "\x1b[A\x1b[A", "\r", "\r      \r"]
    for one in (text, *progress):
        plain.write(one)
    plain.flush()
    assert raw.buffer.getvalue().decode() == text + "".join(progress)
    plain.write("a\rb")
    plain.flush()
    assert raw.buffer.getvalue().decode().endswith(r"a\rb")


def test_a_product_is_written_unchanged_but_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for raw, shown in ((io.StringIO(), "\u202b\x1b[A"), (Terminal(), r"\u202b\x1b[A")):
        monkeypatch.setattr(sys, "stdout", PlainStream(raw))
        terminal.write_data("\u202b\x1b[A")
        assert raw.getvalue() == shown


def test_work_goes_on_when_nothing_reads_the_output(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdout", open(writing, "w", encoding="utf-8"))
    os.close(reading)
    done = []

    def prints(flags):
        for _ in range(3):
            print("x" * 100_000, flush=True)
        done.append(True)

    assert command(prints)() == 0 and done
    sys.stdout.close()


def test_a_stream_that_is_closed_or_missing_is_nowhere_to_write(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for missing in (None, closed):
        monkeypatch.setattr(sys, "stdout", missing)
        assert command(lambda flags: print("words", flush=True))() == 0


def test_the_streams_of_the_process_are_back_after_a_command(run_command):
    before = sys.stdout, sys.stderr
    command(lambda flags: None)()
    with pytest.raises(ZeroDivisionError):
        command(lambda flags: 1 / 0)()
    assert (sys.stdout, sys.stderr) == before
