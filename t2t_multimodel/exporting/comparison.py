"""Every export is asked what the run is asked, and told apart from it answer by answer."""

import base64
import dataclasses
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.exporting.readers import reader_of

_BATCHES = (1, 3)  # sizes of the first batches
_BATCH = 28  # the others, so that 32 questions are three of them
_MOST_DIFFERENT = 0.05  # of the answers: rounding may turn a tie between two ids
_TOLERANCE = 1e-3  # of numbers
_SECONDS = 900  # for a process that answers


@dataclasses.dataclass(frozen=True)
class Questions:
    """Inputs of one problem, as the product takes them and as callers of an export send them."""

    samples: list[Any]
    sent: list[dict[str, bytes]]  # {input: bytes} of each
    origin: str  # where they are from, for people

    def batches(self, size: int = _BATCH) -> list[range]:
        """Which questions are asked together: batches of several sizes, so that all of them are tried."""
        cuts = [0, *np.cumsum(_BATCHES).tolist(), *range(sum(_BATCHES) + size, len(self.samples), size)]
        cuts = [cut for cut in cuts if cut < len(self.samples)] + [len(self.samples)]
        return [range(first, end) for first, end in zip(cuts, cuts[1:])]


def questions_for(part: Any, count: int, any_length: bool = True) -> Questions:
    """Inputs of the dev split and, if these are too few, the test split of the data of a `Slice`; made-up ones where
    the data is not at hand, and where it is too little.

    Args: any_length: False: none that is too long to be trained on.
    """
    inputs = part.spec.inputs
    readers = {name: reader_of(member, part.vocabulary) for name, member in inputs.members or (("inputs", inputs),)}
    stored, origin = _stored(part, count, any_length)
    samples = []
    for each in stored:
        made = {name: r.sample(each[name] if inputs.members else each) for name, r in readers.items()}
        samples.append(made if inputs.members else made["inputs"])
    if 0 < len(samples) < count:
        origin += f" and {count - len(samples)} made-up inputs"
    random = np.random.default_rng(0)
    while len(samples) < count:
        made = {name: reader.made_up(random) for name, reader in readers.items()}
        samples.append(made if inputs.members else made["inputs"])
    sent = [{n: r.encoded(s[n] if inputs.members else s) for n, r in readers.items()} for s in samples]
    return Questions(samples, sent, origin)


def _stored(part, count, any_length):
    from t2t_multimodel.input.store import ExampleStore

    try:
        store = ExampleStore(part.directory.data_dir(), part.spec.name)
        if store.digest != part.problem.digest:
            return [], "made-up inputs, the data was made anew since training"
        examples, origins = [], []
        for name in dict.fromkeys(name for name in (store.dev_split, "test") if name in store.manifest["splits"]):
            split = store.split(name)
            rows = np.arange(len(split))
            if not any_length:
                rows = np.flatnonzero(~part.spec.inputs.lengths(part.hparams, "inputs").too_long(split.input_length))
            found = split.examples(rows[: count - len(examples)].tolist())
            if found:
                fitting = "" if len(rows) == len(split) else " that are short enough for training"
                origins.append(f"the first {len(found)} examples of {name}{fitting}")
                examples += found
    except UserError:
        return [], "made-up inputs, the data is not here"
    return [example.get("inputs") for example in examples], " and ".join(origins)


def ask_process(script: str, arguments: list[str], asked: Any) -> Any:
    """What a script of this folder answers to `asked` in a process of its own; both are plain JSON.

    Raises:
      UserError: the process failed; with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        questions, answers = Path(folder) / "questions.json", Path(folder) / "answers.json"
        questions.write_text(json.dumps(asked), encoding="utf-8")
        path = Path(__file__).with_name(script)
        command = [sys.executable, "-I", str(path), *arguments, str(questions), str(answers)]
        try:
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"the export did not answer within {_SECONDS} s in a new process; it was not kept"
            ) from None
        if ended.returncode:
            last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"the export can't be used in a new process ({last[:300]}); it was not kept")
        return json.loads(answers.read_text(encoding="utf-8"))


def answers_of_both(part: Any, samples: list[Any], script: str, arguments: list[str], asked: Any) -> tuple[Any, Any]:
    """(the run's own answers to `samples`, what `script` answers to `asked`), found out at the same time.

    Raises:
      UserError: the process of the script failed; with its last line.
    """
    with ThreadPoolExecutor(1) as beside:
        told = beside.submit(ask_process, script, arguments, asked)
        right = part.answers(samples)
        return right, told.result()


def as_base64(questions: Questions) -> list[dict[str, list[str]]]:
    """The batches of questions for JSON."""
    names = questions.sent[0]
    return [
        {name: [base64.b64encode(questions.sent[i][name]).decode() for i in rows] for name in names}
        for rows in questions.batches()
    ]


def differences(right: list[Any], told: list[Any]) -> list[int]:
    """The places of the answers that differ."""
    if len(right) != len(told):
        raise UserError(f"the export gave {len(told)} answers to {len(right)} questions; it was not kept")
    return [i for i, (mine, its) in enumerate(zip(right, told)) if not _same(mine, its)]


def check(what: str, right: list[Any], told: list[Any]) -> dict[str, Any]:
    """What an export notes of its comparison.

    Raises:
      UserError: more answers differ than rounding explains.
    """
    different = differences(right, told)
    if len(different) > _MOST_DIFFERENT * len(right):
        place = different[0]
        raise UserError(
            f"{what}: {len(different)} of {len(right)} answers differ from the run's own, the first: "
            f"{told[place]!r:.80} instead of {right[place]!r:.80}; it was not kept"
        )
    return {"questions": len(right), "equal": len(right) - len(different)}


def _same(mine, its):
    if isinstance(mine, str) or isinstance(its, str):
        return mine == its
    if isinstance(mine, dict):
        return mine.keys() == its.keys() and all(_same(mine[name], its[name]) for name in mine)
    return bool(np.allclose(mine, its, rtol=_TOLERANCE, atol=_TOLERANCE))
