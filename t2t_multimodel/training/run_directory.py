"""The run directory: the one place that reads and writes its files, and says whether a run may be continued there.

    run.json              what was trained, on what (`run.py`), and the format version of the directory
    hparams.json          every hyper-parameter with its source; operative_config.gin: the same as a gin file
    vocabulary/           a copy of the data's, so that decoding needs no data folder
    checkpoints/          `checkpoints.py`
    environment.json      machine and versions, an entry for each start of training; for reports
    warm_start.json       which run it started from, and what it took over, if it did (`warm_start.py`)
    data_dir.json         which folder the data is in, so that a report needs no --data_dir
    .trainer.lock         locked while a trainer writes here

environment.json and data_dir.json decide nothing: where they are missing or damaged, a report lacks something.
`metrics_log.py` and `reporting.py` keep the logs beside them (metrics.jsonl, events/, learning_curves.png).

What is read may come from a stranger: regular files only, of limited size, and their values are checked.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
import sys
from pathlib import Path

from t2t_multimodel import locks
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path, write_file
from t2t_multimodel.hyperparameters import Resolved
from t2t_multimodel.json_files import ANY, MissingFile, read_json
from t2t_multimodel.training import checkpoints, environment
from t2t_multimodel.training.run import Run, Stored
from t2t_multimodel.vocabulary import MODEL_FILE, TABLE_FILE, Vocabulary

FORMAT_VERSION = 2
RUN_FILE, HPARAMS_FILE, GIN_FILE = "run.json", "hparams.json", "operative_config.gin"
ENVIRONMENT_FILE, DATA_DIR_FILE = "environment.json", "data_dir.json"
VOCABULARY_FOLDER, LOCK_FILE = "vocabulary", ".trainer.lock"
_ADVICE = "copy the run again"
_MAY_CHANGE = ("train_steps",)  # hyper-parameters that may change when a run is continued: its length
_MOST_ENVIRONMENTS = 50  # the first and the newest are kept
_MOST_VOCABULARY_BYTES = 1 << 28  # of each of its files


class NoData(UserError):
    """Why the data of a run can't be used; its text names no folder of this machine, `note` may."""

    def __init__(self, reason: str, note: str = "") -> None:
        super().__init__(reason)
        self.note = note


class RunDirectory:
    """A run on disk. To open one reads nothing; it can stand wherever a path can."""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        """Raises `UserError` where `output_dir` is a file, or no path."""
        self.path = Path(user_path(output_dir, "output_dir"))
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--output_dir={self.path} is a file; name a folder")

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    # ---- Reading

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.path / "checkpoints"

    def exists(self) -> bool:
        """Whether a run is there; nothing is read."""
        return os.path.lexists(self.path / RUN_FILE)

    def run(self) -> Run:
        """What was trained; raises `UserError` where there is no run, or it is damaged or of another format version."""
        return self._read(RUN_FILE, _run_of)

    def resolved(self) -> Resolved:
        """Its hyper-parameters with their sources; raises `UserError` where they can't be read, or were changed."""
        known = None
        if self.exists():
            known = self._read(RUN_FILE, _checked_run).get("hparams_digest")  # older versions wrote none

        def parse(stored):
            if known not in (None, _digest_of_hparams({name: entry["value"] for name, entry in stored.items()})):
                raise ValueError("it was changed since the run was written")
            return Resolved.from_json(stored, str(self.path / HPARAMS_FILE))

        return self._read(HPARAMS_FILE, parse)

    def vocabulary(self, run: Run | None = None) -> Vocabulary | None:
        """The vocabulary of its texts; None where there is no text.

        Args:
          run: what `run()` gives, if it was read already.

        Raises:
          UserError: it is missing, damaged, or not the one that the run was trained with.
        """
        trained = (run or self.run()).vocabulary
        if trained is None:
            return None
        folder = self.path / VOCABULARY_FOLDER
        todo = f"put back the one of its training: {trained['size']:,} ids, digest {trained['digest'][:16]}…"
        for name in (MODEL_FILE, TABLE_FILE):
            try:
                status = os.stat(folder / name)
            except OSError as error:
                raise UserError(
                    f"{self.path} lacks its vocabulary ({folder / name}: {error.strerror}); {todo}"
                ) from None
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_VOCABULARY_BYTES:
                raise UserError(f"{folder / name} is no regular file, or too large for a vocabulary; {todo}")
        try:
            found = Vocabulary.load(folder)
        except UserError:
            raise
        except Exception as error:  # whatever sentencepiece makes of the bytes
            raise UserError(f"the vocabulary {folder} is damaged ({type(error).__name__}: {error}); {todo}") from error
        if (found.digest, found.size) != (trained["digest"], trained["size"]):
            raise UserError(
                f"the vocabulary {folder} is not the one that {self.path} was trained with ({found.size:,} ids, digest "
                f"{found.digest[:16]}…); {todo}"
            )
        return found

    def environments(self) -> list[dict[str, str]]:
        """Where it was trained, an entry for each start of training, oldest first; see `environment.py`."""
        return environment.read(self.path / ENVIRONMENT_FILE)

    def data_dir(self) -> Path:
        """The folder of its data, found where the run was moved alone and where both were.

        Raises:
          NoData: it is not known, or gone.
        """
        try:
            noted = read_json(self.path / DATA_DIR_FILE, {"data_dir": str, "from_output_dir": str})
            places = [noted["data_dir"], os.path.join(os.path.realpath(self.path), noted["from_output_dir"])]
        except UserError:
            raise NoData("the run does not say which folder its data is in") from None
        for place in places:
            if os.path.isdir(place):
                return Path(os.path.normpath(place))
        raise NoData("the folder of its data is no longer there", places[0])

    def load_model(self, step=None, report=print):
        """The model with the weights of a checkpoint: (model, `Run`, `HParams`, step).

        Args: of `stored`. Raises what that raises, and `UserError` where no model can be made.
        """
        stored = self.stored(step, report)
        return stored.model(), stored.run, stored.hparams, stored.step

    def stored(self, step=None, report=print) -> Stored:
        """The run with the weights of a checkpoint; no model is made.

        Args:
          step: which checkpoint; None: the newest whole one.
          report: a function that is told, a line each, about damaged checkpoints that were passed over.

        Raises:
          UserError: no run, no checkpoint (of that step), or a damaged file.
        """
        run, hparams = self.run(), self.resolved().hparams
        vocabulary = self.vocabulary(run)
        if step is None:
            checkpoint = checkpoints.load_latest(self.checkpoints, report)
        else:
            checkpoint = checkpoints.load(self.checkpoints, step)
        if checkpoint is None:
            raise UserError(
                f"{self.path} holds no checkpoint yet; train with t2t-trainer, or wait for its first --save_interval"
            )
        where = f"the checkpoint of step {checkpoint.step} in {self.checkpoints}"
        source = (where, str(self.path / HPARAMS_FILE), _ADVICE)
        return Stored(run, hparams, vocabulary, checkpoint.step, checkpoint.arrays, source)

    # ---- Writing

    def check_continuation(self, run: Run, resolved: Resolved) -> None:
        """Raises `UserError` where the directory holds another run than this; lists what differs, old → new."""
        there = [name for name in (RUN_FILE, HPARAMS_FILE) if (self.path / name).exists()]
        if len(there) < 2 and next(self.checkpoints.glob("step-*"), None):
            missing = HPARAMS_FILE if RUN_FILE in there else RUN_FILE
            raise UserError(
                f"{self.path} holds checkpoints of a run that nothing is known of ({missing} is missing); "
                "put that file back, or give another --output_dir"
            )
        changes = []
        if RUN_FILE in there:
            before = self.run()
            changes += run.changes_since(before)
            for name, old, new in run.decoding_changes_since(before):
                print(f"{name}: decoded differently from here on: {old} → {new}", file=sys.stderr)
        if HPARAMS_FILE in there:
            changes += _changed_hparams(self.resolved(), resolved)
        if changes:
            raise UserError(
                f"{self.path} holds another run ({'; '.join(changes)}); "
                "give what it was trained with, or another --output_dir: with --warm_start_from="
                f"{self.path} it starts from this run, and with --keep_optimizer too it goes on from its step"
            )
        if RUN_FILE in there:
            self.vocabulary(before)  # raises

    def check_free(self) -> None:
        """Raises `UserError` where a trainer is writing here."""
        try:
            locks.check_free(self.path / LOCK_FILE)
        except locks.Busy as holder:
            raise self._busy(holder) from None

    @contextlib.contextmanager
    def lock(self):
        """Keeps other trainers from writing here, until the block or the process ends.

        Raises:
          UserError: another one does, or the folder can't be made.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.hold(self.path / LOCK_FILE))
            except locks.Busy as holder:
                raise self._busy(holder) from None
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def write(self, run: Run, resolved: Resolved, stores, data_dir, step: int) -> None:
        """Writes all that says what the run is, as training starts or goes on.

        Args:
          stores: {problem: its `ExampleStore`}, in `data_dir`. step: where this training starts.

        Raises:
          UserError: the folder can't be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise self._unwritable(error) from error
        for vocabulary in {store.vocabulary_folder: store.vocabulary() for store in stores.values()}.values():
            if vocabulary is not None:
                vocabulary.copy_to(self.path / VOCABULARY_FOLDER)
        self.write_hparams(resolved)
        self._write_run(run, resolved)
        for name, note in (
            (DATA_DIR_FILE, lambda: self.write_data_dir(data_dir)),
            (ENVIRONMENT_FILE, lambda: self.write_environment(step)),
        ):
            try:
                note()
            except OSError as error:  # a report will lack it; training goes on
                print(f"warning: {self.path / name} can't be written: {error.strerror or error}", file=sys.stderr)

    def write_copy_of(self, other: "RunDirectory") -> None:
        """Writes what says what the run `other` is, without its checkpoints and logs.

        Raises:
          UserError: `other` can't be read.
        """
        run, resolved, vocabulary = other.run(), other.resolved(), other.vocabulary()
        if vocabulary is not None:
            vocabulary.copy_to(self.path / VOCABULARY_FOLDER)
        self.write_hparams(resolved)
        self._write_run(run, resolved)
        with contextlib.suppress(NoData):
            self.write_data_dir(other.data_dir())

    def _write_run(self, run, resolved):
        digest = _digest_of_hparams(dataclasses.asdict(resolved.hparams))
        values = {"format_version": FORMAT_VERSION, "hparams_digest": digest} | run.to_json()
        self._write(RUN_FILE, values | {"digest": _digest(values)})

    def write_hparams(self, resolved: Resolved) -> None:
        """Writes the hyper-parameters, also as a gin file."""
        self._write(HPARAMS_FILE, dict(sorted(resolved.to_json().items())))
        write_file(self.path / GIN_FILE, _as_gin(resolved))

    def write_data_dir(self, data_dir) -> None:
        """Notes the folder of the data twice: its place on this machine, and as seen from the run directory."""
        folder = {
            "data_dir": os.path.abspath(data_dir),
            "from_output_dir": os.path.relpath(os.path.realpath(data_dir), os.path.realpath(self.path)),
        }
        self._write(DATA_DIR_FILE, folder)

    def write_environment(self, step: int) -> None:
        """Adds an entry for this process, which starts to train at `step`."""
        entries = self.environments() + [environment.describe() | {"from step": str(step)}]
        self._write(ENVIRONMENT_FILE, [*entries[:1], *entries[1:][1 - _MOST_ENVIRONMENTS :]])

    def _write(self, name, values):
        write_file(self.path / name, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def _read(self, name, parse):
        path = self.path / name
        try:
            return parse(read_json(path, ANY, _ADVICE))
        except MissingFile:
            raise UserError(f"{self.path} holds no run ({name} is missing); make one with t2t-trainer") from None
        except _OtherVersion as error:
            raise UserError(
                f"{path} is of format version {error}, this program reads {FORMAT_VERSION}; train it again, in another "
                "--output_dir"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise UserError(f"{path} is damaged: {' '.join(str(error).split())}; {_ADVICE}") from None

    def _busy(self, holder):
        return UserError(
            f"{self.path} is being trained by another t2t-trainer ({holder}); wait for it, or give another --output_dir"
        )

    def _unwritable(self, error):
        where = f" ({error.filename})" if error.filename else ""
        return UserError(f"can't make the run directory {self.path}: {error.strerror or error}{where}")


class _OtherVersion(Exception):
    """A run.json that another version of this program wrote."""


def _run_of(values):
    return Run.from_json(_checked_run(values))


def _checked_run(values):
    """The values of run.json, if they are what was written; a value that is only wrong would give wrong answers."""
    if "problems" in values and values.get("format_version", 1) != FORMAT_VERSION:
        raise _OtherVersion(values.get("format_version", 1))
    known = values.pop("digest", None)  # older versions wrote none
    if known not in (None, _digest(values)):
        raise ValueError("it was changed since it was written")
    return values


def _digest(values):
    """The sha256 of plain values, whatever the order of names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _digest_of_hparams(values):
    """Of what may not change when a run is continued."""
    return _digest({name: value for name, value in values.items() if name not in _MAY_CHANGE})


def _changed_hparams(before, now):
    """A clause for each hyper-parameter that must not change and did, with where both values came from."""
    return [
        f"{f.name}: {old!r} → {new!r} ({before.sources.get(f.name, 'default')} → {now.sources.get(f.name, 'default')})"
        for f in dataclasses.fields(now.hparams)
        if (old := getattr(before.hparams, f.name)) != (new := getattr(now.hparams, f.name))
        and f.name not in _MAY_CHANGE
    ]


def _as_gin(resolved):
    lines = ["# Every hyper-parameter of this run; --gin_file with this file gives the same values again."]
    for name, value in dataclasses.asdict(resolved.hparams).items():
        lines.append(f"HParams.{name} = {value!r}  # {resolved.sources.get(name, 'default')}")
    return "\n".join(lines) + "\n"
