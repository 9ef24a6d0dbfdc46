"""One problem's store: its records made and written, its manifest, and whether one that is there still fits.

The layout is described in docs/architecture.md, "The example store".
"""

import dataclasses
import inspect
import json
import time

from t2t_multimodel.data_gen import examples, shards
from t2t_multimodel.data_gen.fingerprint import FORMAT_VERSION, changes
from t2t_multimodel.data_gen.local import Making
from t2t_multimodel.data_gen.unfinished import under_way
from t2t_multimodel.errors import UserError
from t2t_multimodel.problem import Problem, samples_of
from t2t_multimodel.vocabulary import MODEL_FILE, write_file

MANIFEST = "manifest.json"
VOCABULARY_FOLDER = "vocabulary"
_MOST_DROPPED_LISTED = 1000


@dataclasses.dataclass(frozen=True)
class Generated:
    """What `write_store` made of a problem."""

    manifest: dict
    seconds: float
    text_ids: int  # of both sides, all splits
    characters: int
    made_now: dict  # {"examples", "bytes", "text_ids"} of this run, without what an earlier one had finished


def uses_text(problem):
    return problem.inputs.uses_vocabulary or problem.targets.uses_vocabulary


def read_manifest(folder):
    """The manifest of the store in `folder`; None if `folder` is not there.

    Raises:
      UserError: `folder` is something else than a store, or its manifest is damaged.
    """
    if not folder.exists():
        return None
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is in the way: it is no data of ours (no {MANIFEST}); move it elsewhere") from None
    except ValueError:
        raise UserError(f"{folder / MANIFEST} is damaged; remove the folder and run the same command again") from None


def why_not_current(folder, fingerprint):
    """What speaks against using the store in `folder` as it is: clauses; [] if nothing does; None if there is no store.

    Looks at the fingerprint and at the sizes of the files; `verify.py` reads their content.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    found = changes(manifest.get("fingerprint", {}), fingerprint)
    for split in manifest.get("splits", {}).values():
        for name, about in split["files"].items():
            path = folder / name
            if not path.exists():
                found.append(f"{name} is missing")
            elif path.stat().st_size != about["bytes"]:
                found.append(f"{name} is damaged: {path.stat().st_size} bytes instead of {about['bytes']}")
    return found


def write_store(
    problem, data_dir, runner, vocabulary, fingerprint, *, max_bad_records, shard_bytes, seed, overwrite, bars, report
):
    """Makes all splits of a problem and puts them into `data_dir/<problem>`, whole or not at all.

    Args:
      runner: a `LocalRunner`, or a runner of its form, that knows the problem.
      vocabulary: the data folder's `Vocabulary`; None if neither side is text.
      overwrite: whether this is to replace a store: such work and other work are not continued by one another.
      bars: a `progress.Bars`.
      report: called with a line where unfinished work is continued or discarded.

    Returns:
      A `Generated`.

    Raises:
      UserError: too many bad records, a split without examples, a key twice.
    """
    start = time.monotonic()
    counts = Counts(problem, max_bad_records)
    made_from = {"fingerprint": fingerprint, "overwrite": overwrite, "runner": runner.kind}
    with under_way(data_dir / problem.name, made_from, report) as work:
        with_references = work.remembered(
            "references", lambda: any(_has_references(problem, split) for split in problem.splits)
        )
        vocabulary_folder = data_dir / VOCABULARY_FOLDER if vocabulary else None
        making = Making(problem, vocabulary_folder, with_references, seed, shard_bytes)
        runner.make_pieces(making, work, counts, bars)
        plans = {split: runner.plan(making, split, work) for split in problem.splits}
        for split, planned in plans.items():
            if not planned.examples:
                raise shards.UnfitSamples(
                    f"problem {problem.name}: split {split!r} has no examples"
                    + (f" ({len(counts.bad)} bad records were left out)" if counts.bad else "")
                    + "; look at its samples() and its files, or take the split out of its `splits`"
                )
        shards.refuse_shared_keys(problem.name, plans, runner.open_piece)
        every = [shard for planned in plans.values() for shard in planned.shards]
        files = dict(zip((shard.name for shard in every), runner.write_shards(making, every, work, bars)))
        splits = {
            split: _OnDisk(planned, {shard.name: files[shard.name] for shard in planned.shards})
            for split, planned in plans.items()
        }
        for split, planned in plans.items():
            shards.write_index(work.store / shards.index_name(split), planned.index)
        _write_tfds_metadata(work.store, problem, splits, examples.store_features(problem, with_references))
        manifest = _manifest(problem, splits, vocabulary, fingerprint, counts.bad)
        write_manifest(work.store, manifest)
    seconds = time.monotonic() - start
    return Generated(manifest, seconds, counts.text_ids, counts.characters, counts.made_now)


class Counts:
    """Adds up what becomes of samples; stops at one bad record too many."""

    def __init__(self, problem, max_bad_records):
        self._problem, self._max_bad_records = problem, max_bad_records
        self.bad = []  # [split, BadRecord]
        self.text_ids = self.characters = 0
        self.made_now = {"examples": 0, "bytes": 0, "text_ids": 0}  # without what an earlier run has finished

    def add(self, piece, made_now):
        """Counts what a finished `Piece` holds, except its bad records."""
        self.text_ids += piece.about["text_ids"]
        self.characters += piece.about["characters"]
        if made_now:
            self.made_now["examples"] += piece.rows
            for name in ("bytes", "text_ids"):
                self.made_now[name] += piece.about[name]

    def add_bad(self, split, bad):
        for record in bad:
            self.bad.append((split, record))
            if len(self.bad) > self._max_bad_records:
                allowed = f"up to {self._max_bad_records} are left out" if self._max_bad_records else "none is left out"
                raise UserError(
                    f"problem {self._problem.name}, split {split!r}: bad record {record} ({allowed}; "
                    "--max_bad_records=N leaves out up to N)"
                )


@dataclasses.dataclass(frozen=True)
class _OnDisk:
    """A split whose shards are written."""

    planned: shards.SplitPlan
    files: dict  # {file name: {"bytes", "sha256", "examples"}}


def _has_references(problem, split):
    """Looks at the first sample, as it comes and as `prepare` leaves it."""
    for raw in samples_of(problem, split):
        if "bad" in raw:
            continue
        if "references" in raw:
            return True
        try:
            return "references" in (problem.prepare(raw) or ())
        except (ValueError, OSError, UserError):  # a bad record, reported when it is made
            return False
    return False


def _write_tfds_metadata(folder, problem, splits, features):
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        dataset_name=problem.name,
        filetype_suffix="tfrecord",
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[file["examples"] for file in on_disk.files.values()],
            num_bytes=on_disk.planned.content_bytes,
            filename_template=template.replace(split=split),
        )
        for split, on_disk in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, description=_description(problem), check_data=False
    )


def _manifest(problem, splits, vocabulary, fingerprint, bad):
    return {
        "format_version": FORMAT_VERSION,
        "problem": problem.name,
        "inputs": problem.inputs.bind(vocabulary).to_json(),
        "targets": problem.targets.bind(vocabulary).to_json(),
        **declarations(problem, vocabulary),
        "vocabulary": vocabulary
        and {"digest": vocabulary.digest, "size": vocabulary.size, "file": f"{VOCABULARY_FOLDER}/{MODEL_FILE}"},
        "splits": {
            split: {
                "examples": on_disk.planned.examples,
                "bytes": sum(file["bytes"] for file in on_disk.files.values()),
                "input_tokens": int(on_disk.planned.index["input_length"].sum(dtype="int64")),
                "target_tokens": int(on_disk.planned.index["target_length"].sum(dtype="int64")),
                "files": on_disk.files,
            }
            for split, on_disk in splits.items()
        },
        "fingerprint": fingerprint,
        "dropped": [
            {"split": split, "key": record.key, "file": record.file, "reason": record.reason}
            for split, record in bad[:_MOST_DROPPED_LISTED]
        ],
        "dropped_count": len(bad),
    }


def declarations(problem, vocabulary):
    """The part of a manifest that a problem only declares: the examples do not depend on it."""
    command_id = vocabulary.command_id(problem.command_name) if problem.targets.uses_vocabulary else 0
    return {
        "description": _description(problem),
        "command": {"name": problem.command_name, "id": command_id},
        "metrics": list(problem.metric_names),
        "evaluation_split": problem.evaluation_split,
        "target_grammar": problem.target_grammar,
        "decode_hparams": problem.decode_hparams,
    }


def write_manifest(folder, manifest):
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())


def _description(problem):
    """The first line of what a problem says of itself."""
    classes = type(problem).__mro__[: type(problem).__mro__.index(Problem)]
    texts = (getattr(problem, "description", None), *(cls.__doc__ for cls in classes))
    return inspect.cleandoc(next((text for text in texts if text), "")).split("\n")[0]
