"""Data generation on this machine: a pool of workers writes partitions, then shards; finished parts are reused."""

import dataclasses
import time

from t2t_multimodel.data_gen import partitions, shards
from t2t_multimodel.data_gen.workers import Workers


@dataclasses.dataclass(frozen=True)
class StoreJob:
    """One store to write: what a runner needs to know."""

    problem: object
    vocabulary_folder: object  # the data folder's `vocabulary/`; None if neither side is text
    with_references: bool
    seed: int
    shard_bytes: int


class LocalRunner:
    """Writes the partitions and shards of `problems` with `count` worker processes; a context manager."""

    kind = "local"

    def __init__(self, problems, count=None):
        self._workers = Workers(problems, count)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._workers.__exit__(*error)

    def make_partitions(self, job, staging, counts, bars):
        """Writes partitions of all samples that are in no finished partition of `staging`, for all splits.

        Args:
          job: a `StoreJob`.
          staging: a `StagingFolder`.
          counts: a `Counts`; gets every partition, and every bad record as soon as it is found.
          bars: a `progress.Bars`.
        """
        check(staging, job.problem, bars)
        for split in job.problem.splits:
            kept = partitions.contiguous(staging.partitions(split))
            staging.discard_partitions(split, kept)
            for partition in kept:
                counts.add_bad(split, partition.bad)
                counts.add(partition, made_now=False)
            if not staging.is_complete(split, kept):
                self._make_rest(job, split, kept, staging, counts, bars)

    def _make_rest(self, job, split, kept, staging, counts, bars):
        problem = job.problem
        first = kept[-1].samples.stop if kept else 0
        task = problem, split, job.vocabulary_folder, job.with_references, job.seed, first
        chunks = self._workers.chunks(*task, folder=staging.folder / "sending")
        builder, opened = partitions.PartitionBuilder(first), time.monotonic()
        with bars.examples(f"{problem.name} {split}: examples", bars.samples(problem, split), first) as advance:
            for chunk in chunks:
                counts.add_bad(split, chunk.bad)
                builder.add(chunk)
                advance(len(chunk.records) + len(chunk.bad), len(chunk.records.content))
                full = builder.bytes >= min(partitions.PARTITION_BYTES, job.shard_bytes)
                if full or time.monotonic() - opened > partitions.PARTITION_SECONDS:
                    counts.add(staging.write_partition(split, builder), made_now=True)
                    builder = partitions.PartitionBuilder(builder.first + builder.samples)
                    opened = time.monotonic()
            if builder.samples:
                counts.add(staging.write_partition(split, builder), made_now=True)
            staging.mark_complete(split, staging.partitions(split))

    def plan(self, job, split, staging):
        """The `SplitPlan` of a split; all its samples are in partitions."""
        return shards.plan(job.problem.name, split, staging.partitions(split), shard_bytes=job.shard_bytes)

    def open_partition(self, path):
        return open(path, "rb")

    def write_shards(self, job, planned, staging, bars):
        """Writes the unfinished ones of the `planned` `Shard`s; returns {"bytes", "sha256", "examples"} of each."""
        found = []
        with bars.bytes(f"{job.problem.name}: shards", sum(shard.bytes for shard in planned)) as advance:
            for shard in planned:
                about = staging.shard(shard)
                if about is None:
                    about = shards.write_shard(staging.shard_path(shard), shard)
                    staging.finish_shard(shard, about)
                advance(shard.bytes)
                found.append(about)
        return found


def check(staging, problem, bars):
    """Removes the partitions of an interrupted job that have changed content."""
    finished = [partition for split in problem.splits for partition in staging.partitions(split)]
    if not finished:
        return
    total = sum(partition.about["bytes"] for partition in finished)
    with bars.bytes(f"{problem.name}: checksums of finished partitions", total) as advance:
        for split in problem.splits:
            staging.check_partitions(split, len(problem.inputs.members), advance)
