"""What each part of multimodel_speech gives: short trainings on speech, each with one part left out or made otherwise.

    python benchmarks/speech_parts.py --folder=FOLDER --corpora=CORPORA [--updates=1600] [--seeds=0] [--parts=…]

CORPORA holds `made_speech`, the corpus of examples/speech/make_corpus.py. Every run has as many updates as the others;
its seconds are told too, since parts change the time of an update. Scores are character error rates of `dev`, sentences
that are not in training: of CTC alone where there is CTC, and of the decoder alone. What is measured is a short
training: parts that keep a model from learning its recordings by heart show their worth later.

Everything is in FOLDER, some four minutes a run: what is finished is not made again, and `--minutes` starts no further
run after so many.
"""

import argparse
import json
import pathlib
import shutil
import time

from common import REPOSITORY, command, figure, not_run, report

SMALLEST = 400  # ids: letters and some fifty pairs of them
# name: (what differs from the set, ids of the vocabulary)
PARTS = {
    "multimodel_speech": ("", SMALLEST),
    "no masks": ("audio_time_masks=0,audio_bin_masks=0", SMALLEST),
    "time masks only": ("audio_bin_masks=0", SMALLEST),
    "frequency masks only": ("audio_time_masks=0", SMALLEST),
    "one speed": ("audio_speeds=(1.0,)", SMALLEST),
    "no normalisation": ("audio_normalize=none", SMALLEST),
    "no pre-emphasis": ("audio_preemphasis=0", SMALLEST),
    "no dither": ("audio_dither=0", SMALLEST),
    "no silence": ("audio_silence_seconds=0", SMALLEST),
    "no CTC": ("ctc_weight=0", SMALLEST),
    "not sorted": ("sorted_epochs=0", SMALLEST),
    "frames not stacked, strides instead": ("audio_stack=1,audio_strides=(2,2)", SMALLEST),
    "every bin kept": ("audio_bin_strides=(1,1)", SMALLEST),
    "1,000 subwords": ("", 1000),
    "4,000 subwords": ("", 4000),
    "characters": ("", "characters"),
}
SPELT = '''"""made_speech with an id for each character."""

from speech import MadeSpeech

from t2t_multimodel.modalities import Text
from t2t_multimodel.registry import register_problem


@register_problem
class SpeltSpeech(MadeSpeech):
    """The same recordings, into characters."""

    targets = Text("English", units="characters")
'''
REST = (("cer", ".3f"), ("attention_monotonicity", ".2f"), ("train_seconds", ".0f"))  # columns of the table


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="of data, runs and scores")
    parser.add_argument("--corpora", type=pathlib.Path, help="the folder that holds made_speech")
    parser.add_argument("--updates", type=int, default=1600)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--parts", default="", help="of them these, separated by commas; default: all")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further run after so many")
    flags = parser.parse_args(argv)
    if flags.folder is None or flags.corpora is None:
        not_run("takes an hour; give --folder=FOLDER, where it can be continued, and --corpora=CORPORA")
    wanted = flags.parts.split(",") if flags.parts else list(PARTS)
    if unknown := [part for part in wanted if part not in PARTS]:
        raise SystemExit(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    folder, deadline = flags.folder.resolve(), time.monotonic() + 60 * flags.minutes
    folder.mkdir(parents=True, exist_ok=True)
    scores_file = folder / "scores.jsonl"
    lines = scores_file.read_text(encoding="utf-8").splitlines() if scores_file.exists() else []
    found = {(line["part"], line["seed"], line["updates"]): line for line in map(json.loads, lines)}
    for seed in map(int, flags.seeds.split(",")):
        for part in wanted:
            if (part, seed, flags.updates) in found or time.monotonic() > deadline:
                continue
            scores = train(folder, flags.corpora.resolve(), part, seed, flags.updates)
            found[part, seed, flags.updates] = scores
            with open(scores_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(scores) + "\n")
            print(scores, flush=True)
    rows = {
        part: [v for (p, _, updates), v in found.items() if p == part and updates == flags.updates] for part in PARTS
    }
    print(table(rows))
    figures = [
        figure(f"speech, {flags.updates} updates, {part}: character error rate", mean(scores, best_of(scores)), "")
        for part, scores in rows.items()
        if scores
    ]
    if figures:
        report("speech_parts", figures)


def train(folder, corpora, part, seed, updates):
    """Trains one run, unless it is there, and returns its scores on dev."""
    hparams, vocabulary = PARTS[part]
    data, code = folder / f"data-{vocabulary}", folder / "problems"
    shutil.copytree(REPOSITORY / "examples" / "speech", code, dirs_exist_ok=True)
    problem = "made_speech"
    if vocabulary == "characters":
        problem = "spelt_speech"
        (code / "spelt_speech.py").write_text(SPELT, encoding="utf-8")
    where = {"problem": problem, "data_dir": data, "t2t_usr_dir": code}
    size = SMALLEST if vocabulary == "characters" else vocabulary
    command(folder / "log.txt", "datagen", **where, manual_dir=corpora, vocabulary_size=size)
    run = folder / "runs" / f"{part.replace(' ', '-').replace(',', '')}-{seed}-{updates}"
    command(
        folder / "log.txt",
        "trainer",
        **where,
        output_dir=run,
        hparams_set="multimodel_speech",
        hparams=hparams,
        train_steps=updates,
        seed=seed,
        eval_interval=updates,
    )
    logged = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    dev = [line for line in logged if line["split"] == "dev" and line["step"] == updates][-1]
    kept = {name: dev[name] for name in ("ctc_cer", "cer", "attention_monotonicity", "train_seconds") if name in dev}
    return {"part": part, "seed": seed, "updates": updates} | kept


def best_of(scores):
    """The name of the score that counts: of CTC, or of the decoder where there is no CTC."""
    return "ctc_cer" if "ctc_cer" in scores[0] else "cer"


def mean(scores, name):
    return sum(each[name] for each in scores) / len(scores)


def table(rows):
    """A Markdown table: {part: [scores of each seed]}."""
    lines = ["| part | seeds | CTC alone | decoder alone | monotonicity | seconds of training |", "| --- " * 6 + "|"]
    for part, scores in rows.items():
        if scores:
            ctc = f"{mean(scores, 'ctc_cer'):.3f}" if "ctc_cer" in scores[0] else ""
            rest = [f"{mean(scores, name):{how}}" for name, how in REST]
            lines.append(f"| {part} | {len(scores)} | {ctc} | {' | '.join(rest)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
