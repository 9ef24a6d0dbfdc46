"""The folder of a store that is being made: what of it is finished survives the process, and is used by the next run.

`data_dir/incomplete.<problem>/` holds
- `made_from.json`: the fingerprint and the arguments; a run with others removes the folder, and says so;
- `pieces/`: records of runs of samples (`pieces.py`), each finished when its JSON file is there;
  `<split>.all.json` where a split has no more samples;
- `shards/<split>-<number>.json`: size, sha256 and number of examples of a shard that is finished;
- `store/`: the shards and, at the end, all other files; renamed to `data_dir/<problem>`.

Nothing in it is believed for its name: size and sha256 are compared before a piece or a shard is used again.
"""

import contextlib
import hashlib
import json
import os
import shutil

from t2t_multimodel.data_gen import files, pieces
from t2t_multimodel.data_gen.fingerprint import changes
from t2t_multimodel.data_gen.shards import UnfitSamples
from t2t_multimodel.vocabulary import write_file


@contextlib.contextmanager
def under_way(place, made_from, report):
    """Gives the `Unfinished` of the store `place`; when the block ends without an error, the store is there.

    The files are on the disk before the store gets its name, so whatever stops the process, `place` is the old store,
    the new one, or not there. What is finished stays for the next run, unless the samples are unfit for any store.

    Args:
      made_from: {"fingerprint": …, and what else must be the same for unfinished work to be used}.
      report: called with a line for the user, where there is unfinished work.
    """
    work = Unfinished(place.with_name(f"{files.INCOMPLETE}{place.name}"), place.name)
    work.begin(made_from, report)
    before = place.with_name(f"{files.INCOMPLETE}{place.name}.replaced")
    try:
        yield work
        for path in sorted(work.store.rglob("*")):
            files.sync(path)
        files.sync(work.store)
        if place.exists():
            os.rename(place, before)
        os.rename(work.store, place)
        files.sync(place.parent)
    except BaseException as error:
        if before.exists() and not place.exists():
            os.rename(before, place)
        if isinstance(error, UnfitSamples) or not files.has_finished_work(work.folder):
            shutil.rmtree(work.folder, ignore_errors=True)
        raise
    for folder in (before, work.folder):
        shutil.rmtree(folder, ignore_errors=True)


class Unfinished:
    """What is finished of the store of one problem."""

    def __init__(self, folder, problem_name):
        self.folder, self._problem_name = folder, problem_name
        self.digest = ""  # of what it is made from
        self.store = folder / "store"
        self._pieces, self._shards = folder / "pieces", folder / "shards"

    def begin(self, made_from, report):
        """Keeps what is there if it was made from the same; else starts anew."""
        self.digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
        before = _read_json(self.folder / files.MADE_FROM)
        if before is not None:
            why = _differences(before, made_from)
            if not why:
                report(f"{self._problem_name}: an unfinished run is continued: {self._finished_in_words()}")
            else:
                if files.has_finished_work(self.folder):
                    report(
                        f"{self._problem_name}: an unfinished run's work ({self._finished_in_words()}) is discarded: "
                        + "; ".join(why[:5])
                    )
                before = None
        if before is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.folder, self._pieces, self._shards, self.store):
            folder.mkdir(exist_ok=True)
        if before is None:
            write_file(self.folder / files.MADE_FROM, json.dumps(made_from).encode())

    def remembered(self, name, find):
        """What `find()` says; asked once, and not again by the next run."""
        path = self.folder / f"{name}.json"
        if (value := _read_json(path)) is None:
            value = find()
            write_file(path, json.dumps(value).encode())
        return value

    # ---- Pieces

    def pieces(self, split):
        """The finished `Piece`s of a split, in the order of their samples, as their JSON files say."""
        found = []
        for path in sorted(self._pieces.glob(f"{split}-*{pieces.ABOUT}")):
            about = _read_json(path)
            if about is not None:
                found.append(pieces.Piece(str(path.with_suffix(pieces.RECORDS)), about))
        return sorted(found, key=lambda piece: piece.about["first"])

    def check_pieces(self, split, done):
        """Removes pieces whose content is not what was written; calls `done` with the bytes of each."""
        for piece in self.pieces(split):
            if not self._is_whole(piece.path, piece.about):
                self._remove(split, piece)
            done(piece.about["bytes"])

    def write_piece(self, split, run):
        """Finishes a `Run`; returns the `Piece`."""
        parts, about = run.finished()
        path = self._pieces / (pieces.name_of(split, run.first) + pieces.RECORDS)
        with open(path, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        write_file(path.with_suffix(pieces.ABOUT), pieces.to_json(about))
        return pieces.Piece(str(path), about)

    def discard_pieces(self, split, kept):
        """Forgets the pieces of a split that are not among `kept`."""
        for piece in self.pieces(split):
            if piece not in kept:
                self._remove(split, piece)

    def all_samples_are_in(self, split, made):
        """Whether the pieces `made` hold all samples that a split has, as far as a run has found out."""
        return _read_json(self._pieces / f"{split}.all.json") == {"samples": _samples(made)}

    def no_more_samples(self, split, made):
        write_file(self._pieces / f"{split}.all.json", pieces.to_json({"samples": _samples(made)}))

    def _remove(self, split, piece):
        for suffix in (pieces.ABOUT, pieces.RECORDS):
            (self._pieces / (pieces.name_of(split, piece.about["first"]) + suffix)).unlink(missing_ok=True)

    # ---- Shards

    def shard_path(self, shard):
        return self.store / shard.name

    def shard(self, shard):
        """What was written down of a finished shard; None if it is not finished, or not as it was."""
        about = _read_json(self._shard_about(shard))
        if about is None or (about["bytes"], about["examples"]) != (shard.bytes, shard.examples):
            return None
        return about if self._is_whole(self.shard_path(shard), about) else None

    def finish_shard(self, shard, about):
        write_file(self._shard_about(shard), pieces.to_json(about))

    def _shard_about(self, shard):
        return self._shards / f"{shard.split}-{shard.number:05d}.json"

    # ---- Both

    def _is_whole(self, path, about):
        try:
            return os.stat(path).st_size == about["bytes"] and files.sha256_of(path) == about["sha256"]
        except FileNotFoundError:
            return False

    def _finished_in_words(self):
        about = [_read_json(path) for path in self._pieces.glob(f"*-*{pieces.ABOUT}")]
        about = [piece for piece in about if piece]
        samples, size = (sum(piece[name] for piece in about) for name in ("samples", "bytes"))
        shards = len(list(self._shards.glob("*.json")))
        words = f"{samples:,} samples in {len(about)} pieces of {size / 1e6:,.1f} MB"
        return f"{words}, {shards} shards" if shards else words


def _samples(made):
    return sum(piece.about["samples"] for piece in made)


def _differences(before, now):
    """Clauses; [] if unfinished work that was made from `before` fits `now`."""
    why = changes(before.get("fingerprint", {}), now["fingerprint"])
    for name in now:
        if name != "fingerprint" and before.get(name) != now[name]:
            why.append(f"{name} was {before.get(name)}, is {now[name]}")
    return why


def _read_json(path):
    """A JSON file's value; None if it is not there or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
