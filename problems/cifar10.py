"""CIFAR-10: image classification with ten classes; the free stand-in for ImageNet."""

import tarfile
import zlib

import numpy as np

from t2t_multimodel.data_gen.download import fetch
from t2t_multimodel.data_gen.readers.corpora import Corpus, MissingCorpus
from t2t_multimodel.data_gen.readers.members import read_content
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem
from t2t_multimodel.regular_files import require_regular

ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"  # of that archive, as TFDS has recorded it
CORPUS = Corpus(
    "cifar10",
    "CIFAR-10, the binary version (for C programs)",
    "from Alex Krizhevsky's page at the University of Toronto, free and without registration",
    f"{ARCHIVE}; or unpacked, {FOLDER}/data_batch_1.bin to data_batch_5.bin and test_batch.bin",
)
_SIDE, _RECORD = 32, 1 + 3 * 32 * 32  # bytes: the class, then the red, the green and the blue plane
_LARGEST = 10_000 * _RECORD  # bytes of a file of records
_TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = ("test_batch.bin",)


@register_problem
class Cifar10(Problem):
    """CIFAR-10: a photograph, 32×32 pixels, into one of ten classes; the free stand-in for imagenet.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; free; there is no licence, its
    author asks for that citation. Size: an archive of 170 MB; as examples 3,072 bytes a picture, 190 MB in all.
    Splits: test is the official one, 10,000 pictures; dev is the last 5,000 of data_batch_5; train the other 45,000.
    Files: the archive is downloaded from its author's page, and its sha256 is checked. Or put
    cifar-10-binary.tar.gz, or its folder cifar-10-batches-bin, into `cifar10/` in the manual folder.
    Command: t2t-datagen --problem=cifar10 --data_dir=data
    Metric: top-1 accuracy. Not measured yet for this model; plain convolutional nets of its size reach 90 %.
    """

    inputs = Image(_SIDE, _SIDE, 3)
    targets = Label(
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # batches.meta.txt
    )
    dev_examples = 5000  # the last of the training pictures

    def samples(self, split):
        wanted = {"train": _TRAINING, "dev": _TRAINING[-1:], "test": _TEST}[split]
        for batch, where, content in self._batches(wanted):
            records, rest = divmod(len(content), _RECORD)
            if rest or not records:
                raise UserError(f"{where}: {len(content):,} bytes, not a number of records of {_RECORD:,} bytes")
            first_of_dev = records - self.dev_examples if batch == _TRAINING[-1] else records
            for number in range(records):
                if split == "test" or (number >= first_of_dev) == (split == "dev"):
                    record = content[number * _RECORD : (number + 1) * _RECORD]
                    key = f"{batch.removesuffix('.bin')}/{number}"
                    yield {"inputs": record[1:], "targets": record[0], "key": key}

    def prepare(self, sample):
        if sample["targets"] >= len(self.targets.classes):
            raise ValueError(f"{ARCHIVE}: record {sample['key']} has class {sample['targets']}, 0 to 9 expected")
        planes = np.frombuffer(sample["inputs"], np.uint8).reshape(3, _SIDE, _SIDE)
        pixels = np.ascontiguousarray(planes.transpose(1, 2, 0))
        return {**sample, "inputs": pixels, "targets": self.targets.classes[sample["targets"]]}

    def source_files(self):
        source = self._source()
        if source.is_dir():
            return [str(CORPUS.require(FOLDER, batch)) for batch in (*_TRAINING, *_TEST)]
        return [str(source)]

    def _source(self):
        """The `Path` of the folder or archive: the user's one, else the downloaded one."""
        for path in (CORPUS.folder / FOLDER, CORPUS.folder / ARCHIVE):
            if path.exists():
                return path
        try:
            return fetch(URL, sha256=SHA256)
        except MissingCorpus as error:
            raise MissingCorpus(f"{CORPUS.missing()}; {error}") from error

    def _batches(self, wanted):
        """Yields (name, path, content) of the `wanted` record files, each at most 31 MB."""
        archive = self._source()
        if archive.is_dir():
            for name in wanted:
                path = CORPUS.require(FOLDER, name)
                yield name, path, read_content(path)
            return
        missing = list(wanted)
        try:
            require_regular(archive)
            with tarfile.open(archive, "r|gz") as tar:
                for member in tar:
                    folder, _, name = member.name.rpartition("/")
                    if folder.removeprefix("./") == FOLDER and name in missing and member.isreg():
                        if member.size > _LARGEST:
                            said = f"{member.name} has {member.size:,} bytes, at most {_LARGEST:,} expected"
                            raise UserError(f"{archive}: {said}")
                        missing.remove(name)
                        yield name, f"{archive}: {member.name}", tar.extractfile(member).read()
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{archive}: can't be read ({reason}); get it again") from error
        if missing:
            raise UserError(f"{archive}: {', '.join(missing)} in {FOLDER} expected and not found; get it again")
