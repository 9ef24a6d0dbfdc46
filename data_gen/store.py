"""One problem's example store: writes it with its manifest, and decides whether an existing store is current.

The layout is described in docs/architecture.md, "The example store".
"""

import dataclasses
import inspect
import time

from t2t_multimodel.data_gen import examples, shards
from t2t_multimodel.data_gen.files import sha256_of
from t2t_multimodel.data_gen.fingerprint import changes
from t2t_multimodel.data_gen.local import StoreJob
from t2t_multimodel.data_gen.staging import staged_store
from t2t_multimodel.digests import sealed
from t2t_multimodel.errors import UserError, datagen_command
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import DamagedFile
from t2t_multimodel.problem import Problem, samples_of
from t2t_multimodel.store_folder import FORMAT_VERSION, MANIFEST, StoreFolder, files_of, index_name
from t2t_multimodel.vocabulary import MODEL_FILE

VOCABULARY_FOLDER = "vocabulary"
_MOST_DROPPED_LISTED = 1000


@dataclasses.dataclass(frozen=True)
class Generated:
    """The result of `write_store`."""

    manifest: dict
    seconds: float
    text_ids: int  # of both sides, all splits
    characters: int
    made_now: dict  # {"examples", "bytes", "text_ids"} of this job, without reused partitions


def uses_text(problem):
    return problem.inputs.uses_vocabulary or problem.targets.uses_vocabulary


def open_store(folder):
    """The (`StoreFolder`, manifest) of the store in `folder`; None if `folder` does not exist.

    Raises:
      DamagedFile: its manifest is not what it should be. UserError: `folder` is not a store.
    """
    advice = f"make the data again: {datagen_command(folder.name, folder.parent)} --overwrite"
    try:
        files = StoreFolder(folder)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise _in_the_way(folder) from None
    try:
        return files, files.manifest(folder.name, advice)
    except FileNotFoundError:
        raise _in_the_way(folder) from None


def read_manifest(folder):
    """The manifest of the store in `folder`; None if `folder` does not exist; raises as `open_store`."""
    opened = open_store(folder)
    return opened and opened[1]


def _in_the_way(folder):
    return UserError(f"{folder} is in the way: it is not a store (no {MANIFEST}); move it elsewhere")


def why_not_current(folder, fingerprint):
    """Why the store in `folder` is not current: a list of clauses; [] if it is current; None if there is no store.

    Compares the fingerprint, the sizes of all files, and the content of all but the shards; `verify.py` reads these.
    """
    try:
        opened = open_store(folder)
    except DamagedFile as error:
        return [str(error).rpartition(";")[0]]
    if opened is None:
        return None
    files, manifest = opened
    found = changes(manifest["fingerprint"], fingerprint)
    for name, about in files_of(manifest).items():
        if fault := files.size_fault(name, about):
            found.append(f"{name} is damaged: {fault}")
        elif name in manifest["files"]:
            try:
                files.check_digest(name, about, "")
            except DamagedFile as error:
                found.append(str(error))
    return found


def write_store(
    problem, data_dir, runner, vocabulary, fingerprint, *, max_bad_records, shard_bytes, seed, overwrite, bars, log
):
    """Writes all splits of a problem to `data_dir/<problem>`, completely or not at all.

    Args:
      runner: a `LocalRunner` or `BeamRunner` that knows the problem.
      vocabulary: the data folder's `Vocabulary`; None if neither side is text.
      overwrite: whether to replace an existing store; an unfinished store is only continued with the same value.
      bars: a `progress.Bars`.
      log: called with a line if an unfinished store is continued or discarded.

    Returns:
      A `Generated`.

    Raises:
      UserError: too many bad records, a split without examples, a duplicate key.
    """
    start = time.monotonic()
    counts = Counts(problem, max_bad_records)
    made_from = {"fingerprint": fingerprint, "overwrite": overwrite, "runner": runner.kind}
    with staged_store(data_dir / problem.name, made_from, log) as staging:
        with_references = staging.cached(
            "references", lambda: any(_has_references(problem, split) for split in problem.splits)
        )
        vocabulary_folder = data_dir / VOCABULARY_FOLDER if vocabulary else None
        job = StoreJob(problem, vocabulary_folder, with_references, seed, shard_bytes)
        runner.make_partitions(job, staging, counts, bars)
        plans = {split: runner.plan(job, split, staging) for split in problem.splits}
        for split, planned in plans.items():
            if not planned.examples:
                raise shards.UnfitSamples(
                    f"problem {problem.name}: split {split!r} has no examples"
                    + counts.bad_in_words()
                    + "; check its samples() and its files, or remove the split from its `splits`"
                )
        shards.refuse_shared_keys(problem.name, plans, runner.open_partition)
        all_shards = [shard for planned in plans.values() for shard in planned.shards]
        files = dict(zip((shard.name for shard in all_shards), runner.write_shards(job, all_shards, staging, bars)))
        splits = {
            split: _OnDisk(planned, {shard.name: files[shard.name] for shard in planned.shards})
            for split, planned in plans.items()
        }
        staging.keep_only(files)
        for split, planned in plans.items():
            shards.write_index(staging.store / index_name(split), planned.index)
        _write_tfds_metadata(staging.store, problem, splits, examples.store_features(problem, with_references))
        others = {}
        for path in sorted(staging.store.iterdir()):
            if path.name not in files:
                others[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        manifest = _manifest(problem, splits, others, vocabulary, fingerprint, counts.bad)
        write_manifest(staging.store, manifest)
    seconds = time.monotonic() - start
    return Generated(manifest, seconds, counts.text_ids, counts.characters, counts.made_now)


class Counts:
    """Counts records and bad records; raises at one bad record too many."""

    def __init__(self, problem, max_bad_records):
        self._problem, self._max_bad_records = problem, max_bad_records
        self.bad = []  # [split, BadRecord]
        self.text_ids = self.characters = 0
        self.made_now = {"examples": 0, "bytes": 0, "text_ids": 0}  # without reused partitions

    def add(self, partition, made_now):
        """Counts the records of a finished `Partition`, not its bad records."""
        self.text_ids += partition.about["text_ids"]
        self.characters += partition.about["characters"]
        if made_now:
            self.made_now["examples"] += partition.rows
            for name in ("bytes", "text_ids"):
                self.made_now[name] += partition.about[name]

    def bad_in_words(self):
        """A clause on the bad records that were left out; "" without any."""
        return f" ({len(self.bad)} bad records left out; the first: {self.bad[0][1]})" if self.bad else ""

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
    """A split with all shards written."""

    planned: shards.SplitPlan
    files: dict  # {file name: {"bytes", "sha256", "examples"}}


def _has_references(problem, split):
    """Checks the first sample, before and after `prepare`."""
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


def _manifest(problem, splits, others, vocabulary, fingerprint, bad):
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
                "input_tokens": on_disk.planned.index["input_length"].sum(axis=0, dtype="int64").tolist(),
                "target_tokens": on_disk.planned.index["target_length"].sum(axis=0, dtype="int64").tolist(),
                "files": on_disk.files,
            }
            for split, on_disk in splits.items()
        },
        "files": others,
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
    write_file(folder / MANIFEST, sealed(manifest))


def _description(problem):
    """The first line of a problem's description or docstring."""
    classes = type(problem).__mro__[: type(problem).__mro__.index(Problem)]
    texts = (getattr(problem, "description", None), *(cls.__doc__ for cls in classes))
    return inspect.cleandoc(next((text for text in texts if text), "")).split("\n")[0]
