"""Data generation with Apache Beam, on the runner that its options name; writes the same files as one machine.

Each store takes two pipelines. The first reads the samples (one worker per split) and distributes ranges of them over
all workers; each range becomes one partition (`partitions.py`). The second writes the shards, which this process has
planned from the tables of the partitions. Partitions and shards are kept in a folder that all workers and this process
can access by the same name, on any file system that Beam supports. Finished shards are copied from there. The workers
import this package and the modules of the problems.

Finished partitions of an interrupted job are reused, as on one machine.
"""

import contextlib
import hashlib
import io
import logging
import os
import pathlib
import posixpath
import shlex
import shutil
import tempfile

import numpy as np

from t2t_multimodel.data_gen import examples, files, local, partitions, shards, workers
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.staging import SHARD
from t2t_multimodel.digests import sealed, unsealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.vocabulary import MODEL_FILE, Vocabulary

_RANGE, _COSTLY_RANGE = 4096, 512  # samples of a partition


class BeamRunner:
    """Writes the partitions and shards of `problems` in Beam pipelines; the counterpart of `local.LocalRunner`."""

    kind = "beam"

    def __init__(self, problems, options="", folder=None):
        """Creates the runner.

        Args:
          options: Beam's command line options in one string: "--runner=DirectRunner --direct_num_workers=2".
          folder: the folder for partitions and shards; None: the data folder, which all workers must then access.

        Raises:
          UserError: apache-beam is not installed, Beam does not know an option, or workers can't recreate a problem.
        """
        self._options = pipeline_options(options)
        self._folder = folder and str(folder).rstrip("/")
        self._recipes = {problem.name: workers.recipe_of(problem) for problem in problems}
        for name, recipe in self._recipes.items():
            if recipe is None:
                raise UserError(f"problem {name}: Beam's workers can't recreate it; define its class in a module")
        self._written = []  # folders with copied shards; removed when the store is complete

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        if kind is None:
            self._remove_written()

    def make_partitions(self, job, staging, counts, bars):
        """As `LocalRunner.make_partitions`, but bad records are counted after all partitions are finished."""
        import apache_beam as beam

        self._remove_written()
        problem, folder = job.problem, self._folder_of(job.problem, staging)
        if not self._folder:
            local.check(staging, problem, bars)
        for partition in [partition for split in problem.splits for partition in _partitions_in(folder, split)]:
            if "error" in partition.about:  # the job that met the error has reported it
                _remove(partition.path)
        before = {split: _partitions_in(folder, split) for split in problem.splits}
        finished = {partition.path for made in before.values() for partition in made}
        to_read = [split for split in problem.splits if not staging.is_complete(split, before[split])]
        if to_read:
            model = job.vocabulary_folder and (job.vocabulary_folder / MODEL_FILE).read_bytes()
            make = _MakePartition(
                folder, self._recipes[problem.name], corpora.folders(), model, job.with_references, job.seed
            )
            self._run(
                lambda pipeline: (
                    pipeline
                    | beam.Create(to_read)
                    | "read samples" >> beam.FlatMap(make.unfinished_ranges)
                    | beam.Reshuffle()
                    | "make partitions" >> beam.Map(make)
                )
            )
        for split in problem.splits:
            made = _partitions_in(folder, split)
            for partition in made:
                if "error" in partition.about:
                    _remove(partition.path)
                    raise UserError(partition.about["error"])
                counts.add_bad(split, partition.bad)
                counts.add(partition, made_now=partition.path not in finished)
            if len(partitions.contiguous(made)) < len(made):
                raise UserError(f"{folder}: partitions of {problem.name} are missing; run the same command again")
            staging.mark_complete(split, made)

    def plan(self, job, split, staging):
        made = _partitions_in(self._folder_of(job.problem, staging), split)
        return shards.plan(
            job.problem.name,
            split,
            made,
            shard_bytes=job.shard_bytes,
            open_partition=self.open_partition,
            columns_of=_columns,
        )

    def open_partition(self, path):
        from apache_beam.io.filesystems import FileSystems

        return FileSystems.open(path)

    def write_shards(self, job, planned, staging, bars):
        import apache_beam as beam

        folder = self._folder_of(job.problem, staging)
        found = {shard.name: about for shard in planned if (about := staging.shard(shard))}
        missing = [shard for shard in planned if shard.name not in found]
        if missing:
            write = _WriteShard(folder)
            self._run(
                lambda pipeline: pipeline | beam.Create(missing) | beam.Reshuffle() | "write shards" >> beam.Map(write)
            )
        with bars.bytes(f"{job.problem.name}: fetching shards", sum(shard.bytes for shard in missing)) as advance:
            for shard in missing:
                path = staging.shard_path(shard)
                written = posixpath.join(folder, "written", shard.name + ".json")
                about = unsealed(_read(written), SHARD, written, "run the same command again")
                _fetch(posixpath.join(folder, "written", shard.name), path)
                if (path.stat().st_size, files.sha256_of(path)) != (about["bytes"], about["sha256"]):
                    raise UserError(f"{path}: not what Beam's worker wrote; run the same command again")
                staging.finish_shard(shard, about)
                found[shard.name] = about
                advance(shard.bytes)
        if self._folder:
            self._written.append(folder)
        return [found[shard.name] for shard in planned]

    def _remove_written(self):
        from apache_beam.io.filesystems import FileSystems

        while self._written:
            FileSystems.delete([self._written.pop()])

    def _folder_of(self, problem, staging):
        """The folder of a store's partitions; its name depends on what the store is made from."""
        if self._folder:
            return posixpath.join(self._folder, f"{problem.name}-{staging.digest}")
        return str(staging.folder.resolve())

    def _run(self, build):
        import apache_beam as beam

        pipeline = beam.Pipeline(options=self._options)
        build(pipeline)
        state = pipeline.run().wait_until_finish()
        if state != beam.runners.runner.PipelineState.DONE:
            raise UserError(f"the Beam pipeline ended with state {state}; see the log of its runner")


def pipeline_options(text):
    """Beam's `PipelineOptions` from a command line; raises `UserError` for an unknown option, and without Beam."""
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
                raise ValueError(f"{stray!r} is not an option; options are written --name=value")
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
    """Beam logs a message for every cloud service without an installed library."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)


class _MakePartition:
    """Maps a split to the ranges of samples that have no partition yet, and a range to its partition.

    Runs in Beam's workers.
    """

    def __init__(self, folder, recipe, folders, model, with_references, seed):
        self._folder, self._recipe, self._folders = folder, recipe, folders
        self._model, self._with_references, self._seed = model, with_references, seed
        self._made = None

    def __getstate__(self):
        return self.__dict__ | {"_made": None}

    def unfinished_ranges(self, split):
        """Yields (split, index of the first sample, samples, error or None)."""
        problem, *_ = self._tools()
        size = _COSTLY_RANGE if problem.inputs.costly or problem.targets.costly else _RANGE
        finished = {partition.about["first"] for partition in _partitions_in(self._folder, split)}
        end = 0
        try:
            for start, samples in workers.batches_of(problem, split, size):
                end = start + len(samples)
                if start not in finished:
                    yield split, start, samples, None
        except UserError as error:  # the process that started the pipeline raises it
            yield split, end, [], str(error)

    def __call__(self, sample_range):
        split, start, samples, error = sample_range
        path = posixpath.join(self._folder, "partitions", partitions.name_of(split, start) + partitions.RECORDS)
        if error:
            _write(path, [])
            about = partitions.PartitionBuilder(start).about(0, 0, hashlib.sha256()) | {"error": error}
        else:
            problem, features, vocabulary = self._tools()
            chunk = examples.make_records(problem, features, vocabulary, split, start, samples)
            builder = partitions.PartitionBuilder(start)
            builder.add(workers.packed(problem, chunk, self._seed))
            parts, about = builder.finished()
            _write(path, parts)
        _write(_about(path), [sealed(about)])

    def _tools(self):
        if self._made is None:
            corpora.use_folders(self._folders)
            problem = self._recipe.make()
            vocabulary = Vocabulary(self._model, {}) if self._model else None
            self._made = problem, examples.feature_names(problem, self._with_references), vocabulary
        return self._made


class _WriteShard:
    """Writes a planned shard into the folder that all workers can access. Runs in Beam's workers."""

    def __init__(self, folder):
        self._folder = folder

    def __call__(self, shard):
        from apache_beam.io.filesystems import FileSystems

        with tempfile.TemporaryDirectory() as here:
            path = pathlib.Path(here) / shard.name
            about = shards.write_shard(path, shard, FileSystems.open)
            with open(path, "rb") as file:
                _write(posixpath.join(self._folder, "written", shard.name), iter(lambda: file.read(1 << 24), b""))
        _write(posixpath.join(self._folder, "written", shard.name + ".json"), [sealed(about)])


# ---- Files on any file system that Beam supports


def _partitions_in(folder, split):
    """The finished `Partition`s of a split, in sample order."""
    from apache_beam.io.filesystems import FileSystems

    found = []
    pattern = posixpath.join(folder, "partitions", f"{split}-*{partitions.ABOUT}")
    for entry in FileSystems.match([pattern])[0].metadata_list:
        partition = partitions.from_json(_read(entry.path), entry.path, split)
        if partition is not None:  # else its worker was interrupted while writing
            found.append(partition)
    return sorted(found, key=lambda partition: partition.about["first"])


def _columns(partition):
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(partition.path) as file:
        table = file.read(partition.table_bytes)
    return partition.columns_in(np.frombuffer(table, np.uint8))


def _about(path):
    return path.removesuffix(partitions.RECORDS) + partitions.ABOUT


def _read(path):
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(path) as file:
        return file.read()


def _write(path, parts):
    """Writes a file; replaces what an interrupted worker has written of it."""
    from apache_beam.io.filesystems import FileSystems

    if not FileSystems.exists(posixpath.dirname(path)):
        try:
            FileSystems.mkdirs(posixpath.dirname(path))
        except OSError:  # another worker has created it
            pass
    with FileSystems.create(path) as file:
        for part in parts:
            file.write(part)


def _fetch(source, path):
    """Moves a file of the workers' folder to `path`, or copies it from a remote file system."""
    if os.path.exists(source):
        shutil.move(source, path)
        return
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(source) as file, files.new_file(path) as copy:
        shutil.copyfileobj(file, copy, 1 << 24)
    files.sync(path)


def _remove(path):
    from apache_beam.io.filesystems import FileSystems

    FileSystems.delete([path, _about(path)])
