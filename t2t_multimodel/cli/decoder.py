"""Decodes with a trained model: a file line by line, or lines typed on the terminal; or scores given answers.

A line is the input text, or the path of a picture or recording, depending on the problem; several inputs stand in one
line with tabs between them. Output line n is the answer to input line n; blank lines stay blank, but of a problem
without inputs each asks for an answer. With a temperature answers are sampled; what comes of a line depends on the
seed, the line and its number. With return_beams=N in --decode_hparams a line has the N best answers with tabs between
them; with --write_scores each is followed by a tab and its score, a log-probability. A file of any length is decoded in
little memory; its outputs appear as a whole.

Examples:
  t2t-decoder --problem=tiny_ende --data_dir=data --output_dir=run --decode_from_file=in.txt --decode_to_file=out.txt
  t2t-decoder --problem=tiny_ende --output_dir=run --decode_from_file=- --decode_hparams="beam_size=4" < in.txt
  t2t-decoder --problem=tiny_ende --output_dir=run --decode_from_file=in.txt --decode_hparams="return_beams=4"
  t2t-decoder --problem=tiny_ende --output_dir=run --score_file=pairs.tsv
  t2t-decoder --problem=tiny_caption --output_dir=run --decode_interactive
  t2t-decoder --problem=tiny_caption --output_dir=run --decode_interactive --decode_hparams="temperature=0.8,top_p=0.9"
"""

import collections
import contextlib
import functools
import itertools
import os
import stat
import sys
import warnings
from pathlib import Path

from t2t_multimodel import compile_cache, startup
from t2t_multimodel.cli import terminal
from t2t_multimodel.cli.command import DECODE_HPARAMS, WORKERS, Command
from t2t_multimodel.data_gen.readers.compressed import decompressed
from t2t_multimodel.data_gen.readers.lines import MAX_LINE_LENGTH, lines_of
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.regular_files import open_regular

command = Command("t2t-decoder", __doc__)

command.group("What to decode with")
command.text("problem", None, "a problem that the run was trained on", metavar="NAME", required=True)
command.text("output_dir", None, "the run directory of t2t-trainer", metavar="DIR", required=True)
command.text("data_dir", None, "folder of the data; if given, its vocabulary must be the run's", metavar="DIR")
command.integer("step", None, "the checkpoint of this step; default: the newest", at_least=0)
command.text("compile_cache", None, "folder that keeps compiled programs; default: in the user's cache", metavar="DIR")
command.text("decode_hparams", "", DECODE_HPARAMS, metavar="SETTINGS")
command.integer("workers", None, WORKERS.format("lines of a file"), at_least=1)

command.group("What to decode")
command.text(
    "decode_from_file",
    None,
    "file with one input a line, UTF-8; also .gz, .xz, .bz2, .zst; - is standard input",
    metavar="FILE",
)
command.text("decode_to_file", None, "file for the outputs; default: standard output", metavar="FILE")
command.switch("write_scores", "write the score of each answer behind it, after a tab")
command.text(
    "score_file", None, "score given answers: a file of inputs, each with a tab and its target", metavar="FILE"
)
command.choice("long_inputs", "error", ("error", "warn"), "for inputs longer than any in training; none is truncated")
command.integer("max_line_length", MAX_LINE_LENGTH, "characters; a longer line is refused", at_least=1)
command.switch("decode_interactive", "decode lines typed on the terminal until end of file (Ctrl-D)")

command.standard_flags()

WINDOW = 4096  # lines that are decoded together, sorted by length; about what is in memory
_COSTLY_BATCHES = 2  # for each worker, of recordings and pictures, of which 4,096 take gigabytes


def main(argv=None):
    return command.run(_decode, argv)


def _decode(flags):
    from t2t_multimodel import hyperparameters

    source, name = flags.decode_from_file or flags.score_file, "decode_from_file"
    if sum(map(bool, (flags.decode_interactive, flags.decode_from_file, flags.score_file))) != 1:
        raise UserError("give either --decode_from_file=FILE, --score_file=FILE or --decode_interactive")
    if flags.decode_to_file and flags.decode_interactive:
        raise UserError("--decode_to_file goes with --decode_from_file; --decode_interactive answers on the terminal")
    decode_hparams = hyperparameters.parse(flags.decode_hparams, "--decode_hparams")
    if flags.score_file:
        name = "score_file"
        if decode_hparams or flags.write_scores:
            raise UserError("--score_file decodes nothing; leave out --decode_hparams and --write_scores")
    total = None
    if source:
        check_output(source, flags.decode_to_file, name)
        total = count_lines(source, flags.max_line_length, name)
    compile_cache.begin(flags.compile_cache)

    startup.import_backend()
    from t2t_multimodel.decode_hparams import decode_settings
    from t2t_multimodel.predictor import load
    from t2t_multimodel.training.workers import chosen_workers

    if flags.write_scores and not decode_hparams.get("return_beams"):
        decode_hparams["return_beams"] = 1
    quantize = decode_settings(decode_hparams)["quantize"]
    workers = 1 if flags.decode_interactive else chosen_workers(flags.workers, total or 0)
    with load(flags.output_dir, step=flags.step, workers=workers, quantize=quantize) as predictor:
        _decode_with(predictor, flags, decode_hparams, source, name, total, workers)


def _decode_with(predictor, flags, decode_hparams, source, name, total, workers):
    if flags.problem not in predictor.problems:
        raise unknown_name("problem of this run", flags.problem, predictor.problems)
    if flags.data_dir:
        _check_vocabulary(flags.output_dir, flags.data_dir)

    spec = predictor.spec(flags.problem)
    scored = predictor.decode_settings(flags.problem, **decode_hparams)["return_beams"]

    def line_of(answer):
        if not scored:
            return spec.targets.to_line(answer)
        return "\t".join(
            _one_cell(spec.targets.to_line(each)) + (f"\t{score:.6f}" if flags.write_scores else "")
            for each, score in answer
        )

    def decode(inputs, first_row=0):
        with _warnings_as_lines():
            finish = predictor.begin(flags.problem, inputs, flags.long_inputs, first_row, **decode_hparams)
        return lambda: list(map(line_of, finish()))

    def score(pairs, first_row=0):
        cells = [_pair(line, number) for number, line in enumerate(pairs, first_row + 1)]
        with _warnings_as_lines():
            found = predictor.score(flags.problem, *map(list, zip(*cells)), flags.long_inputs, first_row)
        return lambda: [f"{score:.6f}" for score in found]

    blank = spec.inputs.optional
    if flags.decode_interactive:
        return _interact(decode, blank, flags.max_line_length)
    lines = read_lines(source, flags.max_line_length, name)
    begin = score if flags.score_file else decode
    window = window_of(spec, predictor.hparams, workers)
    outputs = decode_stream(begin, _with_progress(lines, total), blank, window, ahead=int(workers > 1))
    if flags.decode_to_file:
        from t2t_multimodel.files import output_file

        with output_file(flags.decode_to_file) as file:
            file.writelines((line + "\n").encode("utf-8") for line in outputs)
    else:
        for line in outputs:
            terminal.write_data(line + "\n")


def window_of(spec, hparams, workers):
    """How many lines of a problem's inputs are decoded together."""
    return min(WINDOW, _COSTLY_BATCHES * hparams.batch_examples * workers) if spec.inputs.costly else WINDOW


def read_lines(path, max_line_length=MAX_LINE_LENGTH, flag="decode_from_file"):
    """Yields the lines of the UTF-8 file `path` ("-": standard input), without their line ends (LF or CRLF).

    Other separators such as U+2028 do not end a line. A byte order mark is dropped.

    Raises:
      UserError: the file can't be read, or a line is not UTF-8 or too long.
    """
    named = f"--{flag}={path}"
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path == "-" else _opened(os.fspath(path)) as file:
            for _, line in lines_of(decompressed(file, path), named, max_line_length=max_line_length):
                yield line
    except OSError as error:
        raise UserError(f"{named}: {error.strerror or error}") from None


def count_lines(path, max_line_length, flag):
    """How many lines a regular file has, all of them checked before hours go into decoding; None for a pipe."""
    is_file = path != "-" and os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode)
    if not is_file and path != "-" and not _is_open(path):
        _opened(path).close()  # raises
    return sum(1 for _ in read_lines(path, max_line_length, flag)) if is_file else None


def _opened(path):
    """The file to decode. Of a pipe only one that is open already, such as a shell's <(…): others wait for a writer."""
    return open(path, "rb") if _is_open(path) else open_regular(path)


def _is_open(path):
    return path in (os.devnull, "/dev/stdin") or os.path.dirname(path) in ("/dev/fd", "/proc/self/fd")


def decode_stream(begin, lines, blank=False, window=WINDOW, ahead=0):
    """Yields the output for each line of an iterable, one line each, in order; `window` lines are in memory, and as
    many again for each window that is begun `ahead`, while workers do the ones before.

    Args:
      begin: function from (a list of inputs, the number of the first) to one that returns the list of their outputs.
        blank: as of `begin_lines`.
    """
    lines, inputs, begun, last = iter(lines), 0, collections.deque(), []
    while not last:
        try:
            part = []
            part.extend(itertools.islice(lines, window))
        except UserError as error:  # after what stands before it, which `part` has
            last = [error]
        if part:
            begun.append(begin_lines(functools.partial(begin, first_row=inputs), part, blank))
            inputs += sum(1 for line in part if blank or line.strip())
        elif not last:
            break
        while len(begun) > (0 if last else ahead):
            yield from begun.popleft()()
    while begun:
        yield from begun.popleft()()
    if last:
        raise last[0]


def _with_progress(lines, total):
    """The lines, with a bar on a terminal that shows how many are taken and how many a second."""
    from tqdm import tqdm

    return tqdm(lines, total=total, unit=" lines", disable=not sys.stderr.isatty(), file=sys.stderr)


@contextlib.contextmanager
def _warnings_as_lines():
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda said, *_: print(f"{command.name}: warning: {said}", file=sys.stderr)
        yield


def _one_cell(text):
    return " ".join(text.split("\t"))


def _pair(line, number):
    """(input, target) of a line of --score_file; of several inputs the target is in the last column."""
    source, tab, target = line.rpartition("\t")
    if not tab or not target.strip():
        raise UserError(f"--score_file: pair {number} must be an input, a tab and its target")
    return source, target


def begin_lines(begin, lines, blank=False):
    """Begins to decode lines; returns a function that gives the output for each, one line each; a blank line stays
    blank. What is wrong with an input is raised by that function.

    Args:
      begin: function from a list of inputs to a function that returns the list of their outputs.
      blank: blank lines are inputs too.
    """
    places = [i for i, line in enumerate(lines) if blank or line.strip()]
    finish, wrong = list, None
    try:
        if places:
            finish = begin([lines[i] for i in places])
    except UserError as error:
        wrong = error

    def outputs():
        if wrong is not None:
            raise wrong
        found = [""] * len(lines)
        for place, output in zip(places, finish(), strict=True):
            found[place] = output.replace("\r", " ").replace("\n", " ")  # keeps one line per answer
        return found

    return outputs


def decode_lines(begin, lines, blank=False):
    """The output for each of `lines`. Args: of `begin_lines`."""
    return begin_lines(begin, lines, blank)()


def _interact(decode, blank, max_line_length):
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        print("Type an input, or the path of a picture or a recording; Ctrl-D ends.")
    if hasattr(sys.stdin, "reconfigure"):  # so that a line in another encoding is one wrong line, not the end
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    for number in itertools.count():
        try:
            line = input(prompt)
        except EOFError:
            return
        try:
            line = _typed(line, max_line_length)
            print(decode_lines(functools.partial(decode, first_row=number), [line], blank)[0], flush=True)
        except UserError as error:  # for example a mistyped path: keep the loaded model
            print(f"{command.name}: error: {error}", file=sys.stderr)


def _typed(line, max_line_length):
    """A line of the terminal, or of what takes its place; raises `UserError` for one that is no text."""
    if line != line.encode("utf-8", "replace").decode("utf-8"):
        raise UserError("the line is not UTF-8")
    if "\0" in line:
        raise UserError("the line has a NUL byte, so this is UTF-16 or no text")
    if len(line) > max_line_length:
        raise UserError(f"the line has more than the {max_line_length:,} characters that --max_line_length allows")
    return line.removeprefix("\ufeff")


def check_output(source, target, flag):
    if target is None:
        return
    if Path(target).is_dir() or not Path(target).absolute().parent.is_dir():
        raise UserError(f"--decode_to_file={target}: {'is a folder' if Path(target).is_dir() else 'no such folder'}")
    if source != "-" and Path(source).exists() and Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"--decode_to_file={target} is the input file of --{flag}; name another")


def _check_vocabulary(output_dir, data_dir):
    from t2t_multimodel.vocabulary import Vocabulary

    run, data = Path(output_dir) / "vocabulary", Path(data_dir) / "vocabulary"
    if run.is_dir() and data.is_dir() and Vocabulary.load(run).digest != Vocabulary.load(data).digest:
        raise UserError(
            f"the vocabulary of {data_dir} is not the one that {output_dir} was trained with; "
            f"give the --data_dir of its training"
        )


if __name__ == "__main__":
    sys.exit(main())
