"""Standard output and error of a command: any text can be printed, in any locale, and no text steers the terminal."""

import contextlib
import errno
import os
import re
import sys

from t2t_multimodel.errors import printable

# What progress bars write: to the start of the line, down and up; nothing else.
_MOVES = re.compile(r"[\r\n]*(\x1b\[A)*")
_GONE = (errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET)  # nothing reads the output any more


@contextlib.contextmanager
def plain_streams():
    """While the body runs, `sys.stdout` and `sys.stderr` are `PlainStream`s; at its end they are written out."""
    _open_standard_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (s if isinstance(s, PlainStream) else PlainStream(s) for s in before)
    try:
        yield
    finally:
        try:
            sys.stderr.flush()
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before


def write_data(text):
    """Writes a command's product to standard output: unchanged into a file or a pipe, plain on a terminal."""
    raw = isinstance(sys.stdout, PlainStream) and not sys.stdout.isatty()
    sys.stdout.guarded("write", text) if raw else sys.stdout.write(text)


class PlainStream:
    """A text stream whose `write` takes any text.

    Characters that steer a terminal are escaped, and so are those that its encoding lacks. Once nothing reads it
    any more (`t2t-trainer | head`), what is written is dropped, so that no work is lost to it.
    """

    def __init__(self, stream):
        self._stream = stream
        # What backslashreplace would leave out raises, or writes bytes of another encoding.
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text):
        self.guarded("write", text if _MOVES.fullmatch(text) else _plain(text))
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        self.guarded("flush")

    def guarded(self, method, *arguments):
        """Calls a method of the stream; that nothing reads it is no error."""
        try:
            getattr(self._stream, method)(*arguments)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._drop_the_rest()
        except ValueError:  # closed by this process
            if not self._stream.closed:
                raise

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def _drop_the_rest(self):
        """What is still in the buffer would raise again, also when Python ends."""
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), self._stream.fileno())


def _plain(text):
    body = text.strip("\r")
    if not body:
        return text
    start = len(text) - len(text.lstrip("\r"))
    return text[:start] + printable(body, keep="\n\t") + text[start + len(body) :]


def _open_standard_descriptors():
    """A closed standard stream (`t2t-trainer >&-`) is nothing to read and nowhere to write.

    Left closed, its number would go to the next file that is opened, and what C++ prints into that file.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))
