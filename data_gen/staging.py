"""The staging folder of an unfinished store: finished parts survive an interruption and are reused by the next job.

`data_dir/incomplete.<problem>/` holds
- `made_from.json`: the fingerprint and the arguments; a job with other ones removes the folder and logs it;
- `partitions/`: records of ranges of samples (`partitions.py`); a partition is finished when its JSON file exists;
  `<split>.all.json` means that all samples of the split are in partitions;
- `shards/<split>-<number>.json`: size, sha256 and number of examples of a finished shard;
- `store/`: the shards and, at the end, all other files; renamed to `data_dir/<problem>`.

Size and sha256 of a partition or shard are checked before it is reused.
"""

import contextlib
import hashlib
import json
import os
import shutil

from t2t_multimodel.data_gen import files, partitions
from t2t_multimodel.data_gen.fingerprint import changes
from t2t_multimodel.data_gen.shards import UnfitSamples
from t2t_multimodel.files import write_file


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
    before = place.with_name(f"{files.INCOMPLETE}{place.name}.replaced")
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
            shutil.rmtree(staging.folder, ignore_errors=True)
        raise
    for folder in (before, staging.folder):
        shutil.rmtree(folder, ignore_errors=True)


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
        before = _read_json(self.folder / files.MADE_FROM)
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
            shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.folder, self._partitions, self._shards, self.store):
            folder.mkdir(exist_ok=True)
        if before is None:
            write_file(self.folder / files.MADE_FROM, json.dumps(made_from).encode())

    def cached(self, name, find):
        """The value of `find()`, stored for the next job."""
        path = self.folder / f"{name}.json"
        if (value := _read_json(path)) is None:
            value = find()
            write_file(path, json.dumps(value).encode())
        return value

    # ---- Partitions

    def partitions(self, split):
        """The finished `Partition`s of a split, in sample order, according to their JSON files."""
        found = []
        for path in sorted(self._partitions.glob(f"{split}-*{partitions.ABOUT}")):
            about = _read_json(path)
            if about is not None:
                found.append(partitions.Partition(str(path.with_suffix(partitions.RECORDS)), about))
        return sorted(found, key=lambda partition: partition.about["first"])

    def check_partitions(self, split, done):
        """Removes partitions with changed content; calls `done` with the bytes of each."""
        for partition in self.partitions(split):
            if not self._is_whole(partition.path, partition.about):
                self._remove(split, partition)
            done(partition.about["bytes"])

    def write_partition(self, split, builder):
        """Writes the partition of a `PartitionBuilder`; returns the `Partition`."""
        parts, about = builder.finished()
        path = self._partitions / (partitions.name_of(split, builder.first) + partitions.RECORDS)
        with open(path, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        write_file(path.with_suffix(partitions.ABOUT), partitions.to_json(about))
        return partitions.Partition(str(path), about)

    def discard_partitions(self, split, kept):
        """Removes the partitions of a split that are not in `kept`."""
        for partition in self.partitions(split):
            if partition not in kept:
                self._remove(split, partition)

    def is_complete(self, split, made):
        """Whether the partitions `made` hold all samples of a split; False if that is not known yet."""
        return _read_json(self._partitions / f"{split}.all.json") == {"samples": _samples(made)}

    def mark_complete(self, split, made):
        write_file(self._partitions / f"{split}.all.json", partitions.to_json({"samples": _samples(made)}))

    def _remove(self, split, partition):
        for suffix in (partitions.ABOUT, partitions.RECORDS):
            (self._partitions / (partitions.name_of(split, partition.about["first"]) + suffix)).unlink(missing_ok=True)

    # ---- Shards

    def shard_path(self, shard):
        return self.store / shard.name

    def shard(self, shard):
        """The stored size, sha256 and count of a shard; None if it is not finished or has changed."""
        about = _read_json(self._shard_about(shard))
        if about is None or (about["bytes"], about["examples"]) != (shard.bytes, shard.examples):
            return None
        return about if self._is_whole(self.shard_path(shard), about) else None

    def finish_shard(self, shard, about):
        write_file(self._shard_about(shard), partitions.to_json(about))

    def _shard_about(self, shard):
        return self._shards / f"{shard.split}-{shard.number:05d}.json"

    # ---- Both

    def _is_whole(self, path, about):
        try:
            return os.stat(path).st_size == about["bytes"] and files.sha256_of(path) == about["sha256"]
        except FileNotFoundError:
            return False

    def _progress(self):
        about = [_read_json(path) for path in self._partitions.glob(f"*-*{partitions.ABOUT}")]
        about = [partition for partition in about if partition]
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


def _read_json(path):
    """The value in a JSON file; None if the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
