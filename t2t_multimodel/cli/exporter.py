"""Exports one problem of a trained run for other programs and other people.

saved_model: strings in, answers out, with the tokenizer, the search and the grammar inside, for TensorFlow Serving and
all that loads a SavedModel. hub: a folder to publish, with a card and scores, that t2t_multimodel.load opens. onnx,
litert: arrays in, probabilities of classes out. stablehlo: arrays in and out, text as ids. An export is written beside
its place, loaded, asked what the run is asked, and renamed to EXPORT_DIR/STEP/ if its answers are the run's own.

Examples:
  t2t-exporter --output_dir=run --problem=tiny_ende --export_dir=models/tiny_ende
  t2t-exporter --output_dir=run --problem=tiny_ende --export_dir=models/beam --decode_hparams="beam_size=4" --xla
  t2t-exporter --output_dir=run --problem=tiny_caption --export_dir=published --format=hub
  t2t-exporter --output_dir=run --problem=tiny_image --export_dir=models/onnx --format=onnx
"""

import sys

from t2t_multimodel import startup
from t2t_multimodel.cli.command import DECODE_HPARAMS, Command
from t2t_multimodel.exporting.export import FORMATS, backend_of, export

command = Command("t2t-exporter", __doc__)

command.group("What to export")
command.text("output_dir", None, "the run directory of t2t-trainer", metavar="DIR", required=True)
command.text("problem", None, "a problem that the run was trained on", metavar="NAME", required=True)
command.integer("step", None, "the checkpoint of this step; default: the newest", at_least=0)
command.text("decode_hparams", "", DECODE_HPARAMS, metavar="SETTINGS")

command.group("Where and how")
command.text("export_dir", None, "the export is DIR/STEP/, new", metavar="DIR", required=True)
command.choice("format", FORMATS[0], FORMATS, "what is written")
command.switch("xla", "of saved_model: a second signature, serving_xla, with the search compiled by XLA")
command.integer("questions", 32, "inputs that the export and the run are asked, and compared by", at_least=1)

command.standard_flags(backend=False)


def main(argv=None):
    return command.run(_export, argv)


def _export(flags):
    from t2t_multimodel import hyperparameters

    decode_hparams = hyperparameters.parse(flags.decode_hparams, "--decode_hparams")
    startup.set_environment(backend_of(flags.format))
    startup.import_backend()
    done = export(
        flags.output_dir,
        flags.problem,
        flags.export_dir,
        format=flags.format,
        step=flags.step,
        decode_hparams=decode_hparams,
        xla=flags.xla,
        questions=flags.questions,
    )
    print(f"{done.folder}: {done.bytes / 1e6:.2f} MB, {done.seconds:.0f} s")
    for name, found in done.compared.items():
        print(f"{name}: {found['equal']} of {found['questions']} answers are the run's own ({done.compared_with})")


if __name__ == "__main__":
    sys.exit(main())
