"""The folder of an example store: its manifest, checked, and its files, which are no other than the manifest promises.

A `StoreFolder` keeps the folder open and marks it as read (a shared lock, which ends with the process). So a reader
keeps the store that it opened: `t2t-datagen --overwrite` puts another folder in its place, and removes the old one
only when no process reads it (`remove_unless_read`).
"""

import errno
import fcntl
import math
import os
import re
import stat
import time
import weakref
from pathlib import Path

from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.digests import sha256_of_file, unsealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import remove_folder
from t2t_multimodel.json_files import ANY, DamagedFile, Whole, damaged, parse_json
from t2t_multimodel.modalities import ProblemSpec
from t2t_multimodel.regular_files import NotRegular, open_regular

FORMAT_VERSION = 3
MANIFEST = "manifest.json"
INCOMPLETE = "incomplete."  # prefix of folders beside a store that are not complete, or not any more
_METADATA = re.compile(r"(dataset_info|features)\.json|[\w.-]{1,200}\.labels\.txt", re.ASCII)  # TFDS's files
_MOST_MANIFEST_BYTES = 1 << 26
_MOST_VALUES = 2**31 - 1  # of one example: the index has no place for more bytes
_COUNT = Whole(0)
_COUNTS = (_COUNT, [_COUNT])
_FILE = {"bytes": _COUNT, "sha256": str}
_SCHEMA = {
    "format_version": Whole(),
    "problem": str,
    "description?": str,
    "inputs": {str: ANY},
    "targets": {str: ANY},
    "command": {"name": str, "id": Whole(0, 2**31 - 1)},
    "metrics?": [str],
    "evaluation_split": str,
    "target_grammar?": str,
    "decode_hparams?": {str: ANY},
    "vocabulary": (None, {"digest": str, "size": Whole(1, 2**31 - 1), "file": str}),
    "splits": {
        str: {
            "examples": Whole(1),
            "bytes": _COUNT,
            "input_tokens": _COUNTS,
            "target_tokens": _COUNTS,
            "files": {str: _FILE | {"examples": _COUNT}},
        }
    },
    "files": {str: _FILE},
    "fingerprint": {
        "arguments?": {str: ANY},
        "source_files?": {str: ANY},
        "code?": {str: ANY},
        "settings?": {str: ANY},
        "format_version?": ANY,
        "vocabulary?": ANY,
    },
    "dropped?": [{"split": str, "key": str, "file": str, "reason": str}],
    "dropped_count?": _COUNT,
}


def shard_name(problem_name, split, number, count):
    return f"{problem_name}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def index_name(split):
    return f"index-{split}.npz"


class StoreFolder:
    """An open store. Raises `FileNotFoundError` or `NotADirectoryError` where there is no folder.

    `path` is where it was found.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._descriptor = _opened_for_reading(path)
        weakref.finalize(self, os.close, self._descriptor)

    def manifest(self, problem_name, advice):
        """The manifest.

        Args:
          problem_name: of the store.
          advice: what to do if the manifest is damaged; ends the error.

        Raises:
          FileNotFoundError: the folder has none. DamagedFile: it is not what it should be; one line.
        """
        path = self.path / MANIFEST
        content = self.content(MANIFEST, advice, _MOST_MANIFEST_BYTES)
        version = parse_json(content, {str: ANY}, path, advice).get("format_version")
        if version != FORMAT_VERSION or isinstance(version, bool):
            said = f"written in format version {version!r:.20}, this program reads version {FORMAT_VERSION}"
            raise DamagedFile(f"{path}: {said}; {advice}")
        manifest = unsealed(content, _SCHEMA, path, advice)
        if said := _fault(manifest, problem_name):
            raise damaged(path, said, advice)
        return manifest

    def content(self, name, advice, most):
        """The content of a file of at most `most` bytes."""
        with self.open(name, advice) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(most + 1) if size <= most else b""
            if max(size, len(content)) > most:
                raise damaged(self.path / name, f"{size:,} bytes; at most {most:,} are read", advice)
            return content

    def open(self, name, advice):
        """The regular file `name` in the folder, open for reading, without a buffer."""
        try:
            return open_regular(name, links=False, folder=self._descriptor, buffering=0)
        except FileNotFoundError:
            if name == MANIFEST:
                raise
            raise DamagedFile(f"{self.path / name}: {self._why_missing()} {advice}") from None
        except NotRegular as error:
            raise damaged(self.path / name, error.strerror, advice) from None
        except OSError as error:
            raise DamagedFile(f"{self.path / name} can't be read: {error.strerror}") from None

    def check_sizes(self, manifest, advice):
        """Raises `DamagedFile` for a file that is missing, no regular file or of another size than promised."""
        for name, about in files_of(manifest).items():
            if said := self.size_fault(name, about):
                raise damaged(self.path / name, said, advice)

    def size_fault(self, name, about):
        """What is wrong with a file, without reading it; "" if nothing is."""
        try:
            status = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return "the data is incomplete, this file is missing"
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file"
        if status.st_size == about["bytes"]:
            return ""
        kind = "truncated" if status.st_size < about["bytes"] else "changed"
        kind += " shard" if ".tfrecord-" in name else ""
        return f"{kind}, {status.st_size:,} bytes instead of {about['bytes']:,}"

    def check_digest(self, name, about, advice):
        """Raises `DamagedFile` if the content of a file is not the one in the manifest."""
        with self.open(name, advice) as file:
            if sha256_of_file(file) != about["sha256"]:
                raise damaged(self.path / name, "its sha256 is not the manifest's", advice)

    def _why_missing(self):
        if not os.fstat(self._descriptor).st_nlink:
            return "the store was removed or replaced after it was opened; run the same command again, or else"
        return "the data is incomplete, this file is missing;"


def files_of(manifest):
    """{file name: {"bytes", "sha256"}} of all files of a store but the manifest."""
    found = dict(manifest["files"])
    for about in manifest["splits"].values():
        found |= about["files"]
    return found


def metadata_of(manifest):
    """The same of the small files: all but shards and indexes."""
    indexes = {index_name(split) for split in manifest["splits"]}
    return {name: about for name, about in manifest["files"].items() if name not in indexes}


def remove_unless_read(folder):
    """Removes a folder that is no store any more, or never was, unless a process reads it; returns whether it did."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # a link, a file, or no folder that we may read
        remove_folder(folder)
        return not os.path.lexists(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    else:
        remove_folder(folder)
        return True
    finally:
        os.close(descriptor)
    remove_folder(folder)
    return True


def _opened_for_reading(path):
    """The descriptor of a folder, marked as read."""
    path = Path(path)
    for attempt in range(100):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if attempt > 10 or not any(path.parent.glob(f"{INCOMPLETE}{path.name}.replaced.*")):
                raise
            time.sleep(0.05)  # another one is about to take its place
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL):  # no locks here
                return descriptor
        os.close(descriptor)
        time.sleep(0.05)  # the folder is being removed, and another one takes its place
    raise UserError(f"{path} is being removed by another process; run the same command again")


def _fault(manifest, problem_name):
    """What is wrong in a manifest whose values have the right types; "" if nothing is."""
    if manifest["problem"] != problem_name:
        return f"it is the data of problem {manifest['problem']!r:.80}, not of {problem_name!r}"
    splits = manifest["splits"]
    if missing := {index_name(split) for split in splits} - manifest["files"].keys():
        return f"it does not list {min(missing)!r:.80}"
    if strange := [name for name in metadata_of(manifest) if not _METADATA.fullmatch(name)]:
        return f"it lists the file {min(strange)!r:.80}"
    for split, about in splits.items():
        shards = list(about["files"].values())
        if not split.isidentifier():
            return f"{split!r:.80} is no name of a split"
        if list(about["files"]) != [shard_name(problem_name, split, n, len(shards)) for n in range(len(shards))]:
            return f"the shards of {split!r} have other names than shards have"
        for name in ("examples", "bytes"):
            if sum(shard[name] for shard in shards) != about[name]:
                return f"the shards of {split!r} do not add up to {about[name]} {name}"
    if said := _other_vocabulary([manifest["inputs"], manifest["targets"]], manifest["vocabulary"] or {}):
        return said
    return _spec_fault(manifest, problem_name)


def _spec_fault(manifest, problem_name):
    try:
        decode_settings(manifest.get("decode_hparams", {}))
        spec = spec_of(manifest, problem_name)
        for modality in (spec.inputs, spec.targets):
            for array in modality.stored().values():
                if math.prod(size for size in array.shape if size) > _MOST_VALUES:
                    return f"an example of shape {array.shape} is too large"
    except UserError as error:  # a modality that is registered elsewhere, for example
        return str(error)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        return f"its inputs, targets or decode_hparams are not valid ({error!r:.200})"
    return ""


def spec_of(manifest, problem_name):
    """The `ProblemSpec` of a manifest."""
    values = {"inputs": manifest["inputs"], "targets": manifest["targets"]}
    values |= {"command_id": manifest["command"]["id"], "grammar": manifest.get("target_grammar", "")}
    return ProblemSpec.from_json(problem_name, values)


def _other_vocabulary(value, vocabulary):
    """What the modalities say of their vocabulary that the manifest does not; "" if nothing is."""
    if isinstance(value, list):
        inner = value
    elif isinstance(value, dict):
        for name in ("size", "digest"):
            said = value.get(f"vocabulary_{name}")
            if said and said != vocabulary.get(name):
                return f"a text is written in a vocabulary of {name} {said!r:.20}, not {vocabulary.get(name)!r:.20}"
        inner = list(value.values())
    else:
        return ""
    return next((said for said in (_other_vocabulary(one, vocabulary) for one in inner) if said), "")
