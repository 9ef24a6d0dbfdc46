"""Asks a t2t-server, as t2t-decoder asks a run: a file line by line. Needs neither the run nor tensorflow.

A line is the input text, or the path of a picture or recording on this machine, depending on the problem; several
inputs stand in one line with tabs between them. Output line n is the answer to input line n; blank lines stay blank.

Examples:
  t2t-query --server=http://127.0.0.1:8501 --problem=tiny_ende --decode_from_file=in.txt --decode_to_file=out.txt
  t2t-query --problem=tiny_image --decode_from_file=- < paths.txt
  t2t-query --problem=tiny_ende --decode_from_file=in.txt --decode_hparams="return_beams=4" --write_scores
  t2t-query --problem=tiny_ende --decode_from_file=- --stream
"""

import base64
import collections
import http.client
import itertools
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from t2t_multimodel.cli import terminal
from t2t_multimodel.cli.command import DECODE_HPARAMS, Command
from t2t_multimodel.cli.decoder import read_lines
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.regular_files import open_regular

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


def main(argv=None):
    return command.run(_query, argv)


def _query(flags):
    from t2t_multimodel import hyperparameters

    if not flags.decode_from_file:
        raise UserError("give --decode_from_file=FILE; - is standard input")
    hparams = hyperparameters.parse(flags.decode_hparams)
    if flags.write_scores and not hparams.get("return_beams"):
        hparams["return_beams"] = 1
    if flags.stream and (flags.decode_to_file or hparams.get("return_beams")):
        raise UserError("--stream writes one answer to standard output; leave out --decode_to_file and return_beams")
    server = _Server(flags.server, flags.token_file, flags.timeout)
    about = server.problem(flags.problem)
    if flags.stream:
        _stream(server, about, flags.decode_from_file, hparams)
        return
    outputs = _outputs(server, about, flags, hparams)
    if flags.decode_to_file:
        from t2t_multimodel.files import replacing

        with replacing(flags.decode_to_file) as path, open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(line + "\n" for line in outputs)
    else:
        for line in outputs:
            terminal.write_data(line + "\n")


def _stream(server, about, path, hparams):
    """Writes the answer to each line of the input as it comes."""
    for number, line in enumerate(read_lines(path), 1):
        written = ""
        if _asks(about, line):
            body = {"problem": about["name"], "input": _input_of(about, line, number), "decode_hparams": hparams}
            for text in server.stream("/decode", body | {"stream": True}):
                text = _plain(text)
                terminal.write_data(text[len(written) :])
                sys.stdout.flush()
                written = text
        terminal.write_data("\n")
        sys.stdout.flush()


def _asks(about, line):
    """Whether a line is an input: a blank one is where the problem reads nothing."""
    return bool(line.strip()) or any(member["modality"] == "no_input" for member in about["inputs"])


def _outputs(server, about, flags, hparams):
    """Yields the line for each line of the input, in order; some requests are under way at once."""
    lines = read_lines(flags.decode_from_file)
    under_way = collections.deque()
    with ThreadPoolExecutor(flags.connections) as threads:
        try:
            first = 1
            while part := list(itertools.islice(lines, flags.batch)):
                under_way.append(threads.submit(_answered, server, about, part, first, hparams, flags.write_scores))
                first += len(part)
                if len(under_way) > 2 * flags.connections:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _answered(server, about, lines, first, hparams, write_scores):
    """The output lines of a part of the input."""
    places = [i for i, line in enumerate(lines) if _asks(about, line)]
    outputs = [""] * len(lines)
    if places:
        inputs = [_input_of(about, lines[i], first + i) for i in places]
        found = server.post("/decode", {"problem": about["name"], "inputs": inputs, "decode_hparams": hparams})
        for place, answer in zip(places, found["answers"], strict=True):
            outputs[place] = _line_of(answer, bool(hparams.get("return_beams")), write_scores)
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
    return values if about["several_inputs"] else values["inputs"]


def _content(path, number):
    try:
        with open_regular(os.path.expanduser(path)) as file:
            return base64.b64encode(file.read()).decode("ascii")
    except OSError as error:
        raise UserError(f"line {number}: {path}: {error.strerror or error}") from None


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


class _Server:
    """The server at an address; its refusals become `UserError`s."""

    def __init__(self, url, token_file, timeout):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"--server={url} must be an address such as http://127.0.0.1:8501")
        self._url, self._timeout = url.rstrip("/"), timeout
        self._headers = {"Content-Type": "application/json"}
        if token_file:
            try:
                with open_regular(token_file) as file:
                    self._headers["Authorization"] = f"Bearer {file.read(4096).decode('ascii').strip()}"
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"--token_file={token_file}: {getattr(error, 'strerror', None) or error}") from None

    def problem(self, name):
        """What the server says of a problem."""
        known = {about["name"]: about for about in self._ask("/problems", None)["problems"]}
        if name not in known:
            raise unknown_name(f"problem of {self._url}", name, known)
        return known[name]

    def post(self, path, body):
        return self._ask(path, json.dumps(body).encode())

    def stream(self, path, body):
        """Yields the text so far of an answer that comes as server-sent events."""
        response = self._ask(path, json.dumps(body).encode(), whole=False)
        try:
            with response:
                for name, content in _events(response):
                    if name == "error":
                        raise UserError(f"{self._url} refuses ({content['status']}): {content['error']}")
                    yield content["answer" if name == "answer" else "text"]
                    if name == "answer":
                        return
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise UserError(f"{self._url} broke off ({error}); ask again") from None
        raise UserError(f"{self._url} broke off before the end of an answer; ask again")

    def _ask(self, path, body, whole=True):
        """The JSON of a response or, unless `whole`, the response itself, open."""
        end = time.monotonic() + self._timeout
        while True:
            request = urllib.request.Request(self._url + path, body, self._headers)
            try:
                response = urllib.request.urlopen(request, timeout=self._timeout)
                if not whole:
                    return response
                with response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                said = _said(error)
                wait = error.headers.get("Retry-After", "1")
                if error.code not in (429, 503) or time.monotonic() > end:
                    raise UserError(f"{self._url} refuses ({error.code}): {said}") from None
                time.sleep(min(float(wait) if wait.isdigit() else 1.0, 10.0))
            except (OSError, ValueError) as error:
                reason = getattr(error, "reason", error)
                raise UserError(f"{self._url} can't be asked ({reason}); is t2t-server running there?") from None


def _events(lines):
    """Yields (name, JSON content) of server-sent events, from lines of bytes."""
    name, data = "message", []
    for line in lines:
        line = line.decode("utf-8").rstrip("\r\n")
        field, _, value = line.partition(":")
        if field == "event":
            name = value.removeprefix(" ")
        elif field == "data":
            data.append(value.removeprefix(" "))
        elif not line:  # the end of an event
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "message", []


def _said(error):
    """What a refusal says, in one line."""
    text = error.read(10_000).decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]


if __name__ == "__main__":
    sys.exit(main())
