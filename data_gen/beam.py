"""Makes pieces and shards with Apache Beam, on whatever its options name: the same files as on one machine.

Two pipelines a store. The first reads the samples, a worker a split, and spreads runs of them over all workers, which
make each a piece (`pieces.py`). The second writes shards, as this process has planned them from the pieces' tables.
Pieces and shards lie in a folder that all workers and this process see by one name, of any file system Beam knows;
finished shards are fetched from there. Workers import this package and the modules of the problems.

Pieces that a stopped run has finished are kept, as on one machine.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import pathlib
import posixpath
import shlex
import shutil
import tempfile

import numpy as np

from t2t_multimodel.data_gen import examples, files, local, pieces, shards, workers
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.errors import UserError
from t2t_multimodel.vocabulary import MODEL_FILE, Vocabulary

_CHUNKS_A_PIECE = 16


class BeamRunner:
    """Makes the pieces and shards of `problems` in Beam pipelines; the counterpart of `local.LocalRunner`."""

    kind = "beam"

    def __init__(self, problems, options="", folder=None):
        """Makes it.

        Args:
          options: what Beam's command line takes, one text: "--runner=DirectRunner --direct_num_workers=2".
          folder: where pieces and shards lie meanwhile; None: in the data folder, which all workers must see then.

        Raises:
          UserError: apache-beam is not installed, an option is none of Beam's, or a problem can't be made by workers.
        """
        self._options = pipeline_options(options)
        self._folder = folder and str(folder).rstrip("/")
        self._recipes = {problem.name: workers.recipe_of(problem) for problem in problems}
        for name, recipe in self._recipes.items():
            if recipe is None:
                raise UserError(f"problem {name}: Beam's workers could not make it again; give its class a module")
        self._written = []  # folders whose shards are fetched; removed when the store is complete

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        if kind is None:
            self._remove_written()

    def make_pieces(self, making, work, counts, bars):
        """As `LocalRunner.make_pieces`, except that bad records are counted when all pieces are made."""
        import apache_beam as beam

        self._remove_written()
        problem, folder = making.problem, self._folder_of(making.problem, work)
        if not self._folder:
            local.check(work, problem, bars)
        for piece in [piece for split in problem.splits for piece in _pieces_in(folder, split)]:
            if "error" in piece.about:  # reported by the run that met it
                _remove(piece.path)
        before = {split: _pieces_in(folder, split) for split in problem.splits}
        finished = {piece.path for made in before.values() for piece in made}
        to_read = [split for split in problem.splits if not work.all_samples_are_in(split, before[split])]
        if to_read:
            model = making.vocabulary_folder and (making.vocabulary_folder / MODEL_FILE).read_bytes()
            make = _MakePiece(
                folder, self._recipes[problem.name], corpora.folders(), model, making.with_references, making.seed
            )
            self._run(
                lambda pipeline: (
                    pipeline
                    | beam.Create(to_read)
                    | "read samples" >> beam.FlatMap(make.unfinished_runs)
                    | beam.Reshuffle()
                    | "make pieces" >> beam.Map(make)
                )
            )
        for split in problem.splits:
            made = _pieces_in(folder, split)
            for piece in made:
                if "error" in piece.about:
                    _remove(piece.path)
                    raise UserError(piece.about["error"])
                counts.add_bad(split, piece.bad)
                counts.add(piece, made_now=piece.path not in finished)
            if len(pieces.contiguous(made)) < len(made):
                raise UserError(f"{folder}: pieces of {problem.name} are missing; run the same command again")
            work.no_more_samples(split, made)

    def plan(self, making, split, work):
        made = _pieces_in(self._folder_of(making.problem, work), split)
        return shards.plan(
            making.problem.name,
            split,
            made,
            shard_bytes=making.shard_bytes,
            open_piece=self.open_piece,
            columns_of=_columns,
        )

    def open_piece(self, path):
        from apache_beam.io.filesystems import FileSystems

        return FileSystems.open(path)

    def write_shards(self, making, planned, work, bars):
        import apache_beam as beam

        folder = self._folder_of(making.problem, work)
        found = {shard.name: about for shard in planned if (about := work.shard(shard))}
        missing = [shard for shard in planned if shard.name not in found]
        if missing:
            write = _WriteShard(folder)
            self._run(
                lambda pipeline: pipeline | beam.Create(missing) | beam.Reshuffle() | "write shards" >> beam.Map(write)
            )
        with bars.bytes(f"{making.problem.name}: fetching shards", sum(shard.bytes for shard in missing)) as advance:
            for shard in missing:
                path = work.shard_path(shard)
                about = json.loads(_read(posixpath.join(folder, "written", shard.name + ".json")))
                _fetch(posixpath.join(folder, "written", shard.name), path)
                if (path.stat().st_size, files.sha256_of(path)) != (about["bytes"], about["sha256"]):
                    raise UserError(f"{path}: not what Beam's worker wrote; run the same command again")
                work.finish_shard(shard, about)
                found[shard.name] = about
                advance(shard.bytes)
        if self._folder:
            self._written.append(folder)
        return [found[shard.name] for shard in planned]

    def _remove_written(self):
        from apache_beam.io.filesystems import FileSystems

        while self._written:
            FileSystems.delete([self._written.pop()])

    def _folder_of(self, problem, work):
        """Where the pieces of a store lie: work that was made from something else lies elsewhere."""
        if self._folder:
            return posixpath.join(self._folder, f"{problem.name}-{work.digest}")
        return str(work.folder.resolve())

    def _run(self, build):
        import apache_beam as beam

        pipeline = beam.Pipeline(options=self._options)
        build(pipeline)
        state = pipeline.run().wait_until_finish()
        if state != beam.runners.runner.PipelineState.DONE:
            raise UserError(f"Beam's pipeline ended as {state}; what its workers said is in the runner's log")


def pipeline_options(text):
    """Beam's `PipelineOptions` of a command line; raises `UserError` for what is no option, and without Beam."""
    said = io.StringIO()
    with _only_errors_logged(), contextlib.redirect_stderr(said):
        try:
            from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
            from apache_beam.runners.runner import create_runner
        except ImportError as error:
            if (error.name or "").split(".")[0] != "apache_beam":
                raise
            raise UserError(
                'the runner beam needs Apache Beam: pip install "t2t-multimodel[beam]" -c constraints-beam.txt'
            ) from None
        try:
            words = shlex.split(text)
            stray = next((word for word in words if not word.startswith("-")), None)
            if stray:
                raise ValueError(f"{stray!r} is no option; options are written --name=value")
            options = PipelineOptions(words)
            known = options.get_all_options()
            create_runner(options.view_as(StandardOptions).runner or "DirectRunner")
        except (ValueError, ImportError) as error:
            raise UserError(f"--beam_options: {error}") from None
        except SystemExit:  # argparse has printed all options, and at the end what is wrong
            raise UserError(f"--beam_options: {said.getvalue().strip().split('error: ')[-1]}") from None
        unknown = set(options.get_all_options(drop_default=True, retain_unknown_options=True)) - set(known)
    if unknown:
        raise UserError(f"--beam_options: Beam knows no --{' and no --'.join(sorted(unknown))}")
    return options


@contextlib.contextmanager
def _only_errors_logged():
    """Beam remarks on every cloud whose libraries are not there."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)


class _MakePiece:
    """A split → the runs of samples that are in no piece yet; a run → its piece. Works in Beam's workers."""

    def __init__(self, folder, recipe, folders, model, with_references, seed):
        self._folder, self._recipe, self._folders = folder, recipe, folders
        self._model, self._with_references, self._seed = model, with_references, seed
        self._made = None

    def __getstate__(self):
        return self.__dict__ | {"_made": None}

    def unfinished_runs(self, split):
        """Yields (split, number of the first sample, samples, error or None)."""
        problem, *_ = self._tools()
        size = _CHUNKS_A_PIECE * workers.chunk_size(problem)
        finished = {piece.about["first"] for piece in _pieces_in(self._folder, split)}
        end = 0
        try:
            for start, samples in workers.batches_of(problem, split, size):
                end = start + len(samples)
                if start not in finished:
                    yield split, start, samples, None
        except UserError as error:  # said by the process that started all this
            yield split, end, [], str(error)

    def __call__(self, run):
        split, start, samples, error = run
        path = posixpath.join(self._folder, "pieces", pieces.name_of(split, start) + pieces.RECORDS)
        if error:
            _write(path, [])
            about = pieces.Run(start).about(0, 0, hashlib.sha256()) | {"error": error}
        else:
            problem, features, vocabulary = self._tools()
            chunk = examples.make_records(problem, features, vocabulary, split, start, samples)
            piece = pieces.Run(start)
            piece.add(workers.packed(chunk, self._seed))
            parts, about = piece.finished()
            _write(path, parts)
        _write(_about(path), [pieces.to_json(about)])

    def _tools(self):
        if self._made is None:
            corpora.use_folders(self._folders)
            problem = self._recipe.make()
            vocabulary = Vocabulary(self._model, {}) if self._model else None
            self._made = problem, examples.store_features(problem, self._with_references), vocabulary
        return self._made


class _WriteShard:
    """Writes a planned shard into the folder that all workers see. Works in Beam's workers."""

    def __init__(self, folder):
        self._folder = folder

    def __call__(self, shard):
        from apache_beam.io.filesystems import FileSystems

        with tempfile.TemporaryDirectory() as here:
            path = pathlib.Path(here) / shard.name
            about = shards.write_shard(path, shard, FileSystems.open)
            with open(path, "rb") as file:
                _write(posixpath.join(self._folder, "written", shard.name), iter(lambda: file.read(1 << 24), b""))
        _write(posixpath.join(self._folder, "written", shard.name + ".json"), [pieces.to_json(about)])


# ---- Files of any file system that Beam knows


def _pieces_in(folder, split):
    """The finished `Piece`s of a split, in the order of their samples."""
    from apache_beam.io.filesystems import FileSystems

    found = []
    pattern = posixpath.join(folder, "pieces", f"{split}-*{pieces.ABOUT}")
    for entry in FileSystems.match([pattern])[0].metadata_list:
        try:
            about = json.loads(_read(entry.path))
        except ValueError:  # its worker was stopped
            continue
        found.append(pieces.Piece(entry.path.removesuffix(pieces.ABOUT) + pieces.RECORDS, about))
    return sorted(found, key=lambda piece: piece.about["first"])


def _columns(piece):
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(piece.path) as file:
        table = file.read(piece.rows * pieces.ROW_BYTES)
    return pieces.columns_in(np.frombuffer(table, np.uint8), piece.rows)


def _about(path):
    return path.removesuffix(pieces.RECORDS) + pieces.ABOUT


def _read(path):
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(path) as file:
        return file.read()


def _write(path, parts):
    """Writes a file, also where a worker that was stopped has begun it."""
    from apache_beam.io.filesystems import FileSystems

    if not FileSystems.exists(posixpath.dirname(path)):
        try:
            FileSystems.mkdirs(posixpath.dirname(path))
        except OSError:  # another worker was quicker
            pass
    with FileSystems.create(path) as file:
        for part in parts:
            file.write(part)


def _fetch(source, path):
    """Brings a file of the workers' folder to `path`, by its name alone where both lie on one disk."""
    if os.path.exists(source):
        shutil.move(source, path)
        return
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(source) as file, open(path, "wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 24)
    files.sync(path)


def _remove(path):
    from apache_beam.io.filesystems import FileSystems

    FileSystems.delete([path, _about(path)])
