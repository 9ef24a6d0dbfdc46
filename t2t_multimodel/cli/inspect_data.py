"""Shows the content of a data folder: decoded examples, their lengths, and what training would leave out. Or of a run.

It shows the first examples of each problem's store (they are shuffled): text with its ids and pieces, pictures in one
PNG, sound as WAV files and a PNG of spectrograms. A table and a PNG show the lengths of both sides, and what an hparams
set would leave out of training.

With --text only the vocabulary is read: the text is encoded and decoded, and the exit status is 1 if the result is
different.

With --run a run directory is described: its problems, parts and sizes, vocabulary, hparams, checkpoints and scores.

Examples:
  t2t-inspect --problem=tiny8 --data_dir=data
  t2t-inspect --problem=tiny_ende -n 20 --split=dev --data_dir=data --hparams_set=multimodel_tiny --output_dir=seen
  t2t-inspect --problem=tiny_ende --data_dir=data --text="naïve 🇩🇪 ▁"
  t2t-inspect --problem=tiny_ende --data_dir=data --text=- < hostile.txt
  t2t-inspect --run=run
"""

import sys
from pathlib import Path

from t2t_multimodel import startup
from t2t_multimodel.cli.command import Command
from t2t_multimodel.errors import UserError

CHANGED = 1  # exit status: the decoded text differs from the input
FOLDER = "inspect"  # in the data folder
_MOST_IDS = 60  # of one side of an example, shown
_MOST_REFERENCES = 5

command = Command("t2t-inspect", __doc__)

command.group("What to show")
command.text("problem", None, "problems or mixtures", metavar="NAMES")
command.text("data_dir", None, "folder that t2t-datagen filled", metavar="DIR")
command.text("run", None, "describe this run directory instead", metavar="DIR")
command.integer("n", 5, "number of examples of each problem", at_least=0)
command.text("split", "train", "split of the examples; lengths are shown for every split", metavar="SPLIT")
command.text("output_dir", None, "folder for pictures and sound; default: DATA_DIR/inspect", metavar="DIR")
command.text("text", None, "encode and decode this text with the problem's vocabulary; - is standard input")

command.group("What training would leave out")
command.text(
    "hparams_set",
    "multimodel_base",
    "set that decides max_input_length, max_target_length and max_audio_seconds",
    metavar="NAME",
)
command.text("hparams", "", 'changes to the set: "name=value,name=value"', metavar="CHANGES")

command.standard_flags(backend=False)


def main(argv=None):
    return command.run(_inspect, argv)


def _inspect(flags):
    from t2t_multimodel import mixture
    from t2t_multimodel.cli import settings

    if flags.run:
        if flags.problem or flags.data_dir:
            raise UserError("--run describes a run directory: give it without --problem and --data_dir")
        from t2t_multimodel.cli import inspect_run

        startup.import_tensorflow()
        print("\n\n".join(inspect_run.describe(flags.run)))
        return None
    missing = [f"--{name}" for name in ("problem", "data_dir") if not flags[name].value]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be given, or --run (see t2t-inspect --help)")
    names = mixture.parse(flags.problem).problem_names
    hparams = settings.resolve(flags.hparams_set, flags.hparams).hparams
    text = None if flags.text is None else _given(flags.text)

    startup.import_backend()
    from t2t_multimodel.input.store import ExampleStore

    stores = [ExampleStore(flags.data_dir, name) for name in names]
    if text is not None:
        return _round_trip(stores[0], text)
    folder = Path(flags.output_dir or Path(flags.data_dir) / FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"--output_dir: {folder} can't be made: {error.strerror}") from error
    for store in stores:
        print(_about(store))
        _show_examples(store, flags.split, flags.n, folder)
        _show_lengths(store, hparams, flags.hparams_set, folder)
        print()


def _given(text):
    """The text of the flag, or all of standard input, unchanged."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"--text=-: standard input is not UTF-8 ({error.reason} at byte {error.start})") from None


def _round_trip(store, text):
    vocabulary = store.vocabulary()
    if vocabulary is None:
        raise UserError(f"--text: neither side of {store.name} is text, so its data has no vocabulary")
    ids = vocabulary.encode(text)
    decoded = vocabulary.decode(ids)
    print(f"text     {shown(text)} ({len(text)} characters, {len(text.encode())} bytes)")
    print(f"ids      {' '.join(map(str, ids))} ({len(ids)})")
    print(f"pieces   {_in_a_row(vocabulary.pieces(ids))}")
    print(f"decoded  {shown(decoded)}")
    print(f"equal    {'yes' if decoded == text else 'no'}")
    return 0 if decoded == text else CHANGED


def shown(text):
    """`text` in quotes on one line; control and invisible characters are escaped."""
    return repr(text)


def _in_a_row(pieces):
    return " ".join(piece if piece.isprintable() else shown(piece) for piece in pieces)


def _about(store):
    manifest = store.manifest
    lines = [f"{store.name}: {manifest.get('description') or '(no description)'}"]
    for side in ("inputs", "targets"):
        whole = getattr(store.spec, side)
        for name, modality in whole.members or [(side, whole)]:
            fields = modality.to_json()
            values = (f"{field} {value}" for field, value in fields.items() if field != "modality")
            lines.append(f"  {name:<8} {fields['modality']} ({', '.join(values)})")
    lines.append(
        f"  command  {manifest['command']['name']}; metrics {', '.join(store.metrics)}; scored on "
        f"{store.evaluation_split}"
    )
    if manifest.get("dropped_count"):
        dropped = manifest["dropped"][0]
        lines.append(f"  {manifest['dropped_count']} bad records were left out, the first: {dropped['reason']}")
    return "\n".join(lines)


def _show_examples(store, split_name, most, folder):
    import numpy as np

    split = store.split(split_name)
    examples = split.examples(np.arange(min(most, len(split))))
    for number, example in enumerate(examples, 1):
        print(f"  {split_name} {number}: key {shown(example['key'])}")
        for side in ("inputs", "targets"):
            for called, line in getattr(store.spec, side).lines(example[side], store.vocabulary()):
                print(f"    {called or side:<10} {line}")
        references = example.get("references", ())
        for reference in references[:_MOST_REFERENCES]:
            print(f"    {'reference':<10} {shown(reference)}")
        if len(references) > _MOST_REFERENCES:
            print(f"    … and {len(references) - _MOST_REFERENCES} references more")
    for side in ("inputs", "targets"):
        other = "targets" if side == "inputs" else "inputs"
        captions = [f"{number}: {_caption(store, other, example)}" for number, example in enumerate(examples, 1)]
        values = [example[side] for example in examples]
        stem = folder / f"{store.name}-{split_name}-{side}"
        written = getattr(store.spec, side).write_files(values, captions, stem) if values else []
        for path in written:
            print(f"  wrote {path}")


def _caption(store, side, example):
    modality = getattr(store.spec, side)
    said = modality.in_one_line(example[side], example["key"], store.vocabulary())
    return example["key"] if modality.media(example[side]) else said


def _show_lengths(store, hparams, set_name, folder):
    from t2t_multimodel.cli import dataset_statistics
    from t2t_multimodel.training.reporting import format_table

    lengths = dataset_statistics.lengths_of(store, hparams)
    if lengths:
        rows = [("split", "side", "examples", "unit", "shortest", "mean", "median", "99 %", "longest", "too long")]
        print(format_table(rows + [row.cells() for row in lengths]))
    for line in dataset_statistics.left_out(store, hparams, set_name):
        print(f"  {line}")
    for line in dataset_statistics.targets_in_words(store):
        print(f"  {line}")
    if lengths:
        path = folder / f"{store.name}-lengths.png"
        dataset_statistics.draw_lengths(lengths, f"{store.name}: lengths; red: the limit of {set_name}", path)
        print(f"  wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
