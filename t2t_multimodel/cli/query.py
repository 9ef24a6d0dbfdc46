"""Asks a t2t-server, as t2t-decoder asks a run: a file line by line. Needs neither the run nor tensorflow.

A line is the input text, or the path of a picture or recording on this machine, depending on the problem; several
inputs stand in one line with tabs between them. Output line n is the answer to input line n; blank lines stay blank.
Sampled answers are those of t2t-decoder too: what comes of a line depends on the seed, the line and its number.

Examples:
  t2t-query --server=http://127.0.0.1:8501 --problem=tiny_ende --decode_from_file=in.txt --decode_to_file=out.txt
  t2t-query --problem=tiny_image --decode_from_file=- < paths.txt
  t2t-query --problem=tiny_ende --decode_from_file=in.txt --decode_hparams="return_beams=4" --write_scores
  t2t-query --problem=tiny_ende --decode_from_file=- --stream
"""

import base64
import collections
import itertools
import os
import sys
import threading

from t2t_multimodel.cli import terminal
from t2t_multimodel.cli.command import DECODE_HPARAMS, Command
from t2t_multimodel.cli.decoder import check_output, count_lines, read_lines
from t2t_multimodel.data_gen.readers.lines import MAX_LINE_LENGTH
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import output_file
from t2t_multimodel.regular_files import open_regular
from t2t_multimodel.serving.client import Client, in_thread

command = Command("t2t-query", __doc__)

command.group("What to ask")
command.text("server", "http://127.0.0.1:8501", "address of the t2t-server", metavar="URL")
command.text("problem", None, "a problem that it serves", metavar="NAME", required=True)
command.text("token_file", None, "file with the server's token", metavar="FILE")
command.text("decode_hparams", "", DECODE_HPARAMS, metavar="SETTINGS")

command.group("What to decode")
command.text("decode_from_file", None, "file with one input a line, UTF-8; - is standard input", metavar="FILE")
command.text("decode_to_file", None, "file for the outputs; default: standard output", metavar="FILE")
command.switch("write_scores", "write the score of each answer behind it, after a tab")
command.switch("stream", "write each text to standard output while the server writes it, one after the other")
command.integer("batch", 16, "inputs in a request", at_least=1)
command.integer("connections", 4, "requests at once", at_least=1)
command.integer("timeout", 60, "seconds to wait for an answer; a busy server is asked again until then", at_least=1)

command.standard_flags(backend=False)


_MOST_TOKEN_BYTES = 4096
_MOST_FILE_BYTES = 1 << 28  # of a picture or recording; servers take far less in a request


def main(argv=None):
    return command.run(_query, argv)


def _query(flags):
    from t2t_multimodel import hyperparameters

    if not flags.decode_from_file:
        raise UserError("give --decode_from_file=FILE; - is standard input")
    hparams = hyperparameters.parse(flags.decode_hparams, "--decode_hparams")
    if flags.write_scores and not hparams.get("return_beams"):
        hparams["return_beams"] = 1
    if flags.stream and (flags.decode_to_file or hparams.get("return_beams")):
        raise UserError("--stream writes one answer to standard output; leave out --decode_to_file and return_beams")
    check_output(flags.decode_from_file, flags.decode_to_file, "decode_from_file")
    count_lines(flags.decode_from_file, MAX_LINE_LENGTH, "decode_from_file")  # all are checked before the first is sent
    server = Client(flags.server, _token(flags.token_file) if flags.token_file else "", flags.timeout)
    about = server.problem(flags.problem)
    if flags.stream:
        _stream(server, about, flags.decode_from_file, hparams)
        return
    outputs = _outputs(server, about, flags, hparams)
    if flags.decode_to_file:
        with output_file(flags.decode_to_file) as file:
            file.writelines((line + "\n").encode("utf-8") for line in outputs)
    else:
        for line in outputs:
            terminal.write_data(line + "\n")


def _stream(server, about, path, hparams):
    """Writes the answer to each line of the input as it comes."""
    row = 0
    for number, line in enumerate(read_lines(path), 1):
        written = ""
        if _asks(about, line):
            for text in server.stream(about["name"], _input_of(about, line, number), hparams, row):
                text = _plain(text)
                terminal.write_data(text[len(written) :])
                sys.stdout.flush()
                written = text
            row += 1
        terminal.write_data("\n")
        sys.stdout.flush()


def _asks(about, line):
    """Whether a line is an input: a blank one is where the problem reads nothing."""
    return bool(line.strip()) or any(member["modality"] == "no_input" for member in about["inputs"])


def _outputs(server, about, flags, hparams):
    """Yields the line for each line of the input, in order; some requests are under way at once."""
    lines, under_way = read_lines(flags.decode_from_file), collections.deque()
    places = threading.Semaphore(flags.connections)

    def answered(*arguments):
        with places:
            return _answered(server, about, *arguments)

    first, row = 1, 0
    while part := list(itertools.islice(lines, flags.batch)):
        under_way.append(in_thread(answered, part, first, row, hparams, flags.write_scores))
        first += len(part)
        row += sum(_asks(about, line) for line in part)
        if len(under_way) > 2 * flags.connections:
            yield from under_way.popleft().result()
    while under_way:
        yield from under_way.popleft().result()


def _answered(server, about, lines, first, row, hparams, write_scores):
    """The output lines of a part of the input, whose first line has the number `first`, its first input `row`."""
    places = [i for i, line in enumerate(lines) if _asks(about, line)]
    outputs = [""] * len(lines)
    if places:
        inputs = [_input_of(about, lines[i], first + i) for i in places]
        scored = bool(hparams.get("return_beams"))
        answers = server.decode(about["name"], inputs, hparams, scored, row)
        for place, answer in zip(places, answers, strict=True):
            outputs[place] = _line_of(answer, scored, write_scores)
    return outputs


def _input_of(about, line, number):
    """A line as the server takes it: text, or the bytes of the file that it names."""
    cells = line.split("\t") if about["several_inputs"] else [line]
    if len(cells) != len(about["inputs"]):
        raise UserError(
            f"line {number} must have {len(about['inputs'])} columns with tabs between, it has {len(cells)}"
        )
    values = {}
    for member, cell in zip(about["inputs"], cells):
        values[member["name"]] = cell if member["line_is_data"] else {"b64": _content(cell, number)}
    return values if about["several_inputs"] else next(iter(values.values()))


def _content(path, number):
    try:
        with open_regular(os.path.expanduser(path)) as file:
            content = file.read(_MOST_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"line {number}: {path}: {error.strerror or error}") from None
    if len(content) > _MOST_FILE_BYTES:
        raise UserError(f"line {number}: {path} has more than {_MOST_FILE_BYTES:,} bytes, too many for a request")
    return base64.b64encode(content).decode("ascii")


def _line_of(answer, scored, write_scores):
    if scored:
        cells = []
        for each in answer:
            cells.append(_plain(each["answer"]).replace("\t", " "))
            cells += [f"{each['score']:.6f}"] if write_scores else []
        return "\t".join(cells)
    return _plain(answer)


def _plain(answer):
    if isinstance(answer, list):
        return " ".join(_plain(each) for each in answer)
    return answer.replace("\r", " ").replace("\n", " ") if isinstance(answer, str) else f"{answer}"


def _token(path):
    try:
        with open_regular(path) as file:
            token = file.read(_MOST_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise UserError(f"--token_file={path}: {error.strerror or error}") from None
    if not 0 < len(token) <= _MOST_TOKEN_BYTES or not all(33 <= byte < 127 for byte in token):
        raise UserError(f"--token_file={path} must hold one line of letters, digits and signs: the server's token")
    return token.decode("ascii")


if __name__ == "__main__":
    sys.exit(main())
