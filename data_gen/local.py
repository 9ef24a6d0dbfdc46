"""Makes pieces and shards on this machine: samples through a pool of workers, what a stopped run finished not again."""

import dataclasses
import time

from t2t_multimodel.data_gen import pieces, shards
from t2t_multimodel.data_gen.workers import Workers


@dataclasses.dataclass(frozen=True)
class Making:
    """A store that is to be made: what a runner has to know of it."""

    problem: object
    vocabulary_folder: object  # the data folder's `vocabulary/`; None if neither side is text
    with_references: bool
    seed: int
    shard_bytes: int


class LocalRunner:
    """Makes the pieces and shards of `problems` with `count` worker processes; used as a context."""

    kind = "local"

    def __init__(self, problems, count=None):
        self._workers = Workers(problems, count)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._workers.__exit__(*error)

    def make_pieces(self, making, work, counts, bars):
        """Makes pieces of all samples of all splits that are in no finished piece of `work`.

        Args:
          making: a `Making`.
          work: an `Unfinished`.
          counts: a `Counts`, told of every piece and of every bad record as soon as it is met.
          bars: a `progress.Bars`.
        """
        check(work, making.problem, bars)
        for split in making.problem.splits:
            kept = pieces.contiguous(work.pieces(split))
            work.discard_pieces(split, kept)
            for piece in kept:
                counts.add_bad(split, piece.bad)
                counts.add(piece, made_now=False)
            if not work.all_samples_are_in(split, kept):
                self._make_rest(making, split, kept, work, counts, bars)

    def _make_rest(self, making, split, kept, work, counts, bars):
        problem = making.problem
        first = kept[-1].samples.stop if kept else 0
        chunks = self._workers.chunks(
            problem, split, making.vocabulary_folder, making.with_references, making.seed, first
        )
        run, opened = pieces.Run(first), time.monotonic()
        with bars.examples(f"{problem.name} {split}: examples", bars.samples(problem, split), first) as advance:
            for chunk in chunks:
                counts.add_bad(split, chunk.bad)
                run.add(chunk)
                advance(len(chunk.records) + len(chunk.bad), len(chunk.records.content))
                full = run.bytes >= min(pieces.PIECE_BYTES, making.shard_bytes)
                if full or time.monotonic() - opened > pieces.PIECE_SECONDS:
                    counts.add(work.write_piece(split, run), made_now=True)
                    run, opened = pieces.Run(run.first + run.samples), time.monotonic()
            if run.samples:
                counts.add(work.write_piece(split, run), made_now=True)
            work.no_more_samples(split, work.pieces(split))

    def plan(self, making, split, work):
        """The `SplitPlan` of a split whose samples are all in pieces."""
        return shards.plan(making.problem.name, split, work.pieces(split), shard_bytes=making.shard_bytes)

    def open_piece(self, path):
        return open(path, "rb")

    def write_shards(self, making, planned, work, bars):
        """Writes the `Shard`s `planned` that are not finished yet; returns what is known of each file, in order."""
        found = []
        with bars.bytes(f"{making.problem.name}: shards", sum(shard.bytes for shard in planned)) as advance:
            for shard in planned:
                about = work.shard(shard)
                if about is None:
                    about = shards.write_shard(work.shard_path(shard), shard)
                    work.finish_shard(shard, about)
                advance(shard.bytes)
                found.append(about)
        return found


def check(work, problem, bars):
    """Removes those of a stopped run's pieces that are not as they were written."""
    total = sum(piece.about["bytes"] for split in problem.splits for piece in work.pieces(split))
    if not total:
        return
    with bars.bytes(f"{problem.name}: checksums of what is finished", total) as advance:
        for split in problem.splits:
            work.check_pieces(split, advance)
