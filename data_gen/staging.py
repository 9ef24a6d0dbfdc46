"""The staging folder of an unfinished store: finished parts survive an interruption and are reused by the next job.

`data_dir/incomplete.<problem>/` holds
- `made_from.json`: the fingerprint and the arguments; a job with other ones removes the folder and logs it;
- `partitions/`: records of ranges of samples (`partitions.py`); a partition is finished when its JSON file exists;
  `<split>.all.json` means that all samples of the split are in partitions;
- `sending/`: bytes on their way to a worker (`sending.py`), removed as they arrive;
- `shards/<split>-<number>.json`: size, sha256 and number of examples of a finished shard;
- `store/`: the shards and, at the end, all other files; renamed to `data_dir/<problem>`.

Each JSON file holds a digest of its own values. A partition or shard whose JSON file is not as it was written, or whose
content has another size or sha256 than the JSON file says, is not finished: it is made again.
"""

import contextlib
import hashlib
import json
import os
import shutil

from t2t_multimodel.data_gen import files, partitions
from t2t_multimodel.data_gen.fingerprint import changes
from t2t_multimodel.data_gen.shards import UnfitSamples
from t2t_multimodel.digests import read_sealed, sealed, sha256_of_file
from t2t_multimodel.files import remove_folder, write_file
from t2t_multimodel.json_files import ANY, DamagedFile, MissingFile, Whole, read_bytes
from t2t_multimodel.regular_files import open_regular
from t2t_multimodel.store_folder import remove_unless_read

_COUNT = Whole(0)
_MOST_BYTES = 1 << 30  # of a partition's JSON file: one line for each bad record
SHARD = {"bytes": _COUNT, "sha256": str, "examples": _COUNT}
_MADE_FROM = {"fingerprint": {str: ANY}}


@contextlib.contextmanager
def staged_store(place, made_from, log):
    """Yields the `StagingFolder` of the store at `place`; when the block ends without an error, the store is complete.

    All files are synced to disk before the store is renamed. So after a crash `place` is the old store, the new one, or
    missing. Finished parts stay for the next job, unless the samples can't form a store (`UnfitSamples`).

    Args:
      made_from: {"fingerprint": …, and other values that must be equal to continue an unfinished store}.
      log: called with a line for the user if there is an unfinished store.
    """
    staging = StagingFolder(place.with_name(f"{files.INCOMPLETE}{place.name}"), place.name)
    staging.open(made_from, log)
    before = files.unused(place, "replaced")
    try:
        yield staging
        for path in sorted(staging.store.rglob("*")):
            files.sync(path)
        files.sync(staging.store)
        if place.exists():
            os.rename(place, before)
        os.rename(staging.store, place)
        files.sync(place.parent)
    except BaseException as error:
        if before.exists() and not place.exists():
            os.rename(before, place)
        if isinstance(error, UnfitSamples) or not files.has_finished_partitions(staging.folder):
            remove_folder(staging.folder)
        raise
    remove_folder(staging.folder)
    if before.exists() and not remove_unless_read(before):
        log(
            f"{place.name}: the store that was replaced is being read; its readers keep it, in {before.name}, which "
            "the next t2t-datagen removes"
        )


class StagingFolder:
    """The finished parts of one problem's store."""

    def __init__(self, folder, problem_name):
        self.folder, self._problem_name = folder, problem_name
        self.digest = ""  # of `made_from`
        self.store = folder / "store"
        self._partitions, self._shards = folder / "partitions", folder / "shards"

    def open(self, made_from, log):
        """Keeps the finished parts if they were made from the same; else starts with an empty folder."""
        self.digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            self.folder.unlink()  # nothing of ours: what is written must stay in the data folder
        before = self._made_from(log)
        if before is not None:
            why = _differences(before, made_from)
            if not why:
                log(f"{self._problem_name}: continuing the unfinished store: {self._progress()}")
            else:
                if files.has_finished_partitions(self.folder):
                    log(
                        f"{self._problem_name}: the unfinished store ({self._progress()}) is discarded: "
                        + "; ".join(why[:5])
                    )
                before = None
        if before is None:
            remove_folder(self.folder)
        for folder in (self.folder, self._partitions, self._shards, self.store):
            if folder.is_symlink():
                folder.unlink()
            folder.mkdir(exist_ok=True)
        if before is None:
            write_file(self.folder / files.MADE_FROM, sealed(made_from))

    def _made_from(self, log):
        """What the unfinished store was made from; None if there is none, or if that is not known."""
        try:
            return read_sealed(self.folder / files.MADE_FROM, _MADE_FROM)
        except MissingFile:
            return None
        except DamagedFile as error:
            log(f"{self._problem_name}: the unfinished store is discarded: {error}")
            return None

    def cached(self, name, find):
        """The value of `find()`, true or false, stored for the next job."""
        path = self.folder / f"{name}.json"
        if (found := _read(path, {name: bool})) is None:
            found = {name: find()}
            write_file(path, sealed(found))
        return found[name]

    def keep_only(self, names):
        """Removes everything from the store but the files `names`; raises if one is missing or no regular file."""
        for path in self.store.iterdir():
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in names:
            open_regular(self.store / name, links=False).close()

    # ---- Partitions

    def partitions(self, split):
        """The finished `Partition`s of a split, in sample order, according to their JSON files."""
        found = []
        for path in sorted(self._partitions.glob(f"{split}-*{partitions.ABOUT}")):
            try:
                found.append(partitions.from_json(read_bytes(path, limit=_MOST_BYTES), path, split))
            except DamagedFile:
                continue
        return sorted(filter(None, found), key=lambda partition: partition.about["first"])

    def check_partitions(self, split, inputs, done):
        """Removes partitions with changed content; calls `done` with the bytes of each.

        `inputs`: how many lengths the inputs of a row have (`Partition.inputs`).
        """
        for partition in self.partitions(split):
            whole = partition.inputs == inputs and self._is_whole(partition.path, partition.about)
            if not (whole and partition.is_consistent()):
                self._remove(split, partition)
            done(partition.about["bytes"])

    def write_partition(self, split, builder):
        """Writes the partition of a `PartitionBuilder`; returns the `Partition`."""
        parts, about = builder.finished()
        path = self._partitions / (partitions.name_of(split, builder.first) + partitions.RECORDS)
        with files.new_file(path) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        write_file(path.with_suffix(partitions.ABOUT), sealed(about))
        return partitions.Partition(str(path), about)

    def discard_partitions(self, split, kept):
        """Removes the partitions of a split that are not in `kept`."""
        for partition in self.partitions(split):
            if partition not in kept:
                self._remove(split, partition)

    def is_complete(self, split, made):
        """Whether the partitions `made` hold all samples of a split; False if that is not known yet."""
        return _read(self._partitions / f"{split}.all.json", {"samples": _COUNT}) == {"samples": _samples(made)}

    def mark_complete(self, split, made):
        write_file(self._partitions / f"{split}.all.json", sealed({"samples": _samples(made)}))

    def _remove(self, split, partition):
        for suffix in (partitions.ABOUT, partitions.RECORDS):
            (self._partitions / (partitions.name_of(split, partition.about["first"]) + suffix)).unlink(missing_ok=True)

    # ---- Shards

    def shard_path(self, shard):
        return self.store / shard.name

    def shard(self, shard):
        """The stored size, sha256 and count of a shard; None if it is not finished or has changed."""
        about = _read(self._shard_about(shard), SHARD)
        if about is None or (about["bytes"], about["examples"]) != (shard.bytes, shard.examples):
            return None
        return about if self._is_whole(self.shard_path(shard), about) else None

    def finish_shard(self, shard, about):
        write_file(self._shard_about(shard), sealed(about))

    def _shard_about(self, shard):
        return self._shards / f"{shard.split}-{shard.number:05d}.json"

    # ---- Both

    def _is_whole(self, path, about):
        try:
            with open_regular(path, links=False, buffering=0) as file:
                return os.fstat(file.fileno()).st_size == about["bytes"] and sha256_of_file(file) == about["sha256"]
        except OSError:
            return False

    def _progress(self):
        splits = {path.name.rpartition("-")[0] for path in self._partitions.glob(f"*-*{partitions.ABOUT}")}
        about = [partition.about for split in splits for partition in self.partitions(split)]
        samples, size = (sum(partition[name] for partition in about) for name in ("samples", "bytes"))
        shards = len(list(self._shards.glob("*.json")))
        words = f"{samples:,} samples in {len(about)} partitions of {size / 1e6:,.1f} MB"
        return f"{words}, {shards} shards" if shards else words


def _samples(made):
    return sum(partition.about["samples"] for partition in made)


def _differences(before, now):
    """Why an unfinished store made from `before` can't be continued with `now`: clauses; [] if it can."""
    why = changes(before.get("fingerprint", {}), now["fingerprint"])
    for name in now:
        if name != "fingerprint" and before.get(name) != now[name]:
            why.append(f"{name} was {before.get(name)}, is {now[name]}")
    return why


def _read(path, schema):
    """The values in a JSON file that `sealed` made; None if it is missing or not as it was written."""
    try:
        return read_sealed(path, schema)
    except DamagedFile:
        return None
